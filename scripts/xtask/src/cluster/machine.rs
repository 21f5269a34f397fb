//! The command line of a virtual machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use base::limits;

use super::disks::{self, Format};
use super::keys;
use super::network;
use super::process;
use super::state::{Accel, Description, Machine, Net, Reads, Services};
use crate::clock;

/// QEMU keeps what it translates; an image of a megabyte needs no more than this, in MiB.
const TRANSLATIONS_MIB: u32 = 32;

/// The shortest rings of QEMU's network card, in descriptors.
const RING_SIZE_MIN_QEMU: u16 = 256;

/// The folder of a node, within the cluster's.
pub fn node_folder(node: u16) -> PathBuf {
    PathBuf::from(format!("node-{node}"))
}

/// The socket of a node's serial port.
pub fn serial_socket(node: u16) -> PathBuf {
    node_folder(node).join("serial.sock")
}

/// What came over a node's serial port.
pub fn serial_log(node: u16) -> PathBuf {
    node_folder(node).join("serial.log")
}

/// The socket on which QEMU takes orders.
pub fn qmp_socket(node: u16) -> PathBuf {
    node_folder(node).join("qmp.sock")
}

/// The socket of a node's port at the switch.
pub fn port_socket(node: u16) -> PathBuf {
    node_folder(node).join("net.sock")
}

/// Commas separate QEMU's options; one in a value is doubled.
fn quoted(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// What starts the machine of a node, in the cluster's folder. `tap` is an open TAP device, for
/// [`Net::Bridge`]; `contact` is a member for a node that is not yet one.
pub fn command(
    description: &Description,
    node: u16,
    tap: Option<i32>,
    format: Format,
    contact: Option<u16>,
) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    let mut add = |words: &[&str]| {
        command.args(words);
    };
    add(&["-name", &process::qemu_name(node)]);
    add(&["-nodefaults", "-no-user-config", "-display", "none"]);
    match description.accel {
        // Unless it is told to, QEMU does not say whether the processor's counter ever stops.
        Accel::Kvm if description.reads == Reads::Lease => {
            add(&["-accel", "kvm", "-cpu", "host,+invtsc"]);
        }
        Accel::Kvm => add(&["-accel", "kvm", "-cpu", "host"]),
        Accel::Tcg => {
            let accel = format!("tcg,thread=single,tb-size={TRANSLATIONS_MIB}");
            add(&["-accel", &accel, "-cpu", "max"]);
        }
    }
    let memory = format!("{}M", description.memory_mib);
    add(&["-m", &memory]);
    let shared = description.net.shares_memory();
    match (description.machine, shared) {
        (Machine::Q35, false) => add(&["-M", "q35"]),
        (Machine::Q35, true) => add(&["-M", "q35,memory-backend=m"]),
        (Machine::Microvm, false) => add(&["-M", "microvm,acpi=off"]),
        (Machine::Microvm, true) => add(&["-M", "microvm,acpi=off,memory-backend=m"]),
    }
    if shared {
        let object = format!("memory-backend-memfd,id=m,size={memory},share=on");
        add(&["-object", &object]);
    }
    if description.machine == Machine::Microvm {
        add(&["-global", "virtio-mmio.force-legacy=off"]);
    }
    add(&["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
    let serial = format!(
        "socket,id=serial,path={},server=on,wait=off,logfile={},logappend=on",
        serial_socket(node).display(),
        serial_log(node).display()
    );
    add(&["-chardev", &serial, "-serial", "chardev:serial"]);
    let qmp = format!("unix:{},server=on,wait=off", qmp_socket(node).display());
    add(&["-qmp", &qmp]);
    add(&[
        "-kernel",
        &description.image.to_string_lossy(),
        "-append",
        &settings(description, node, format, contact),
    ]);
    if description.has_keys && node <= description.founders {
        // The path is for everybody to read, what is in the file is not.
        let path = keys::path(Path::new("."), node);
        add(&["-fw_cfg", &format!("name=opt/coterie/keys,file={}", quoted(&path))]);
    }
    for words in [
        cluster_card(description, node, tap),
        client_card(description, node),
        drive(description, node),
    ] {
        command.args(words);
    }
    command
}

fn settings(description: &Description, node: u16, format: Format, contact: Option<u16>) -> String {
    let beginning = match contact {
        Some(contact) if node > description.founders => format!("coterie.join={contact}"),
        // All who founded the cluster, be they members still or not: the log begins with them.
        Some(_) | None => {
            let founders: Vec<_> =
                (1..=description.founders).map(|node| node.to_string()).collect();
            format!("coterie.peers={}", founders.join(","))
        }
    };
    let format = match format {
        Format::Allowed => "coterie.format=yes ",
        Format::Forbidden => "",
    };
    let reads = match description.reads {
        Reads::Index => "",
        Reads::Lease => "coterie.reads=lease ",
    };
    let services = match description.services {
        // Who joins later has no keys.
        Services::Bft if node <= description.founders => "coterie.services=raft,bft ",
        Services::Raft | Services::Bft | Services::Both => "",
    };
    let ring = match description.ring_size {
        limits::RING_SIZE => String::new(),
        size => format!("coterie.ring={size} "),
    };
    let path = match description.net {
        Net::Switch | Net::Ovs => "dpdk",
        Net::Socket => "userspace",
        Net::Bridge => "kernel",
    };
    format!(
        "coterie.id={node} coterie.cluster={} {beginning} {format}{reads}{services}{ring}coterie.path={path} \
         coterie.wall_ms={} {}",
        description.id,
        clock::since_1970().as_millis(),
        description.append
    )
}

/// `-device` options of a device that is on the bus, or on the board where there is none.
fn device(description: &Description, name: &str, options: &str, pci_options: &str) -> [String; 2] {
    let packed = if description.is_packed { ",packed=on" } else { "" };
    let device = match description.machine {
        Machine::Q35 => format!("{name}-pci,{options}{packed},disable-legacy=on{pci_options}"),
        Machine::Microvm => format!("{name}-device,{options}{packed}"),
    };
    ["-device".into(), device]
}

/// No firmware of a network card is wanted: it takes time and memory.
const NO_ROM: &str = ",romfile=";

fn card(description: &Description, netdev: &str, network: u8, node: u16) -> [String; 2] {
    let options = format!("netdev={netdev},mac={}", network::mac(network, node));
    device(description, "virtio-net", &options, NO_ROM)
}

fn cluster_card(description: &Description, node: u16, tap: Option<i32>) -> Vec<String> {
    let socket = port_socket(node);
    let socket = socket.display();
    let mut words = match description.net {
        Net::Switch | Net::Ovs => vec![
            "-chardev".into(),
            format!("socket,id=cluster-port,path={socket}{}", listens(description.net)),
            "-netdev".into(),
            "vhost-user,id=cluster,chardev=cluster-port".into(),
        ],
        Net::Socket => vec![
            "-netdev".into(),
            format!("stream,id=cluster,server=off,addr.type=unix,addr.path={socket}"),
        ],
        Net::Bridge => {
            let fd = tap.map_or_else(String::new, |fd| fd.to_string());
            vec!["-netdev".into(), format!("tap,id=cluster,fd={fd},vhost=off")]
        }
    };
    let [option, mut device] = card(description, "cluster", network::CLUSTER, node);
    // QEMU offers no less than this, and what takes frames out is no longer but over shared rings; the node
    // takes what it is offered, and no more than it is told.
    let size = description.ring_size.max(RING_SIZE_MIN_QEMU);
    device.push_str(&format!(",rx_queue_size={size},tx_queue_size={size}"));
    let (net, machine) = (description.net, description.machine);
    if net.shares_memory() && (description.accel, machine) == (Accel::Tcg, Machine::Q35) {
        // QEMU 7.2 crashes when a guest unmasks a message of a vhost-user device and there is no KVM: the
        // card interrupts by its line instead.
        device.push_str(",vectors=0");
    }
    words.extend([option, device]);
    words
}

/// Our switch waits for the machines; Open vSwitch comes to them.
fn listens(net: Net) -> &'static str {
    if net == Net::Ovs { ",server=on" } else { "" }
}

fn client_card(description: &Description, node: u16) -> Vec<String> {
    let (resp, http) = (description.resp_port(node), description.http_port(node));
    // Clients come in through these two ports; nothing gets out.
    let netdev = format!(
        "user,id=clients,restrict=on,hostfwd=tcp:127.0.0.1:{resp}-:6379,hostfwd=tcp:127.0.0.1:{http}-:80"
    );
    let mut words = vec!["-netdev".into(), netdev];
    words.extend(card(description, "clients", network::CLIENTS, node));
    words
}

fn drive(description: &Description, node: u16) -> Vec<String> {
    let path = disks::path(description, node);
    // The host's cache is used, and the node's flushes reach the disk.
    let drive =
        format!("file={},format=raw,if=none,id=disk,cache=writeback,aio=threads", quoted(&path));
    let mut words = vec!["-drive".into(), drive];
    words.extend(device(description, "virtio-blk", "drive=disk", ""));
    words
}
