//! Which device is which port of the node: found on the bus or the board, told apart, started.

use core::fmt::{self, Write};

use base::limits::{OUTSIDE_RECEIVE_BUFFERS, RING_SIZE, cluster_receive_buffers};
use node::Settings;
use platform::devices::{self, DiscoveryError};
use platform::interrupts::Interrupts;
use platform::pci;
use platform::serial::Serial;
use pool::{Pool, Region};
use virtio::blk::{BlkConfig, WithoutFlush};
use virtio::net::NetConfig;
use virtio::transport::{DeviceType, MmioTransport, PciDevice, Transport};
use virtio::{InitError, VirtioBlk, VirtioNet};

/// Cards are told apart by their address, 02:77:KIND:00:HIGH:LOW with the node's number at the end.
const MAC_PREFIX: [u8; 2] = [0x02, 0x77];
const MAC_CLUSTER: u8 = 0;
const MAC_OUTSIDE: u8 = 1;

/// The devices of a node. All of one kind: a machine has a PCI bus, or devices on the board.
pub struct Devices<T: Transport> {
    /// The card on the network of the nodes.
    pub cluster: VirtioNet<T>,
    /// The card on the network of the clients, if there is one.
    pub outside: Option<VirtioNet<T>>,
    /// The disk.
    pub disk: VirtioBlk<T>,
}

/// Why a node cannot have its devices.
pub enum DeviceError {
    /// There is none of the kind that is needed.
    Missing(&'static str),
    /// There are two where one is expected.
    Twice(&'static str),
    /// One cannot be used.
    Unusable(&'static str, InitError),
    /// A card whose address says neither what it is for.
    Stranger(virtio::net::MacAddress),
    /// One cannot be made ready.
    Unready(DiscoveryError),
}

impl From<DiscoveryError> for DeviceError {
    fn from(error: DiscoveryError) -> DeviceError {
        DeviceError::Unready(error)
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceError::Missing(device) => write!(f, "there is no {device}"),
            DeviceError::Unready(error) => write!(f, "{error}"),
            DeviceError::Twice(device) => write!(f, "there are two: {device}"),
            DeviceError::Unusable(device, error) => {
                write!(f, "the {device} cannot be used: {error}")
            }
            DeviceError::Stranger(mac) => {
                write!(f, "the card {mac} is neither 02:77:00:… (cluster) nor 02:77:01:… (clients)")
            }
        }
    }
}

/// Devices as they are found, one by one.
struct Finder<'a, T: Transport> {
    arena: &'a mut Option<Region>,
    packets: &'a Pool,
    settings: &'a Settings,
    cluster: Option<VirtioNet<T>>,
    outside: Option<VirtioNet<T>>,
    disk: Option<VirtioBlk<T>>,
}

/// Finds and starts the devices on the PCI bus.
///
/// # Errors
/// If one that the node needs is missing or cannot be used.
pub fn on_pci(
    ports: pci::ConfigurationPorts,
    interrupts: &mut Interrupts,
    arena: &mut Option<Region>,
    packets: &Pool,
    settings: &Settings,
) -> Result<Devices<PciDevice>, DeviceError> {
    let mut finder = Finder::new(arena, packets, settings);
    devices::on_pci(ports, interrupts, |kind, device| finder.take(kind, device))?;
    finder.complete()
}

/// Finds and starts the devices that the command line describes.
///
/// # Errors
/// If one that the node needs is missing or cannot be used.
pub fn on_board(
    command_line: &str,
    interrupts: &mut Interrupts,
    arena: &mut Option<Region>,
    packets: &Pool,
    settings: &Settings,
) -> Result<Devices<MmioTransport<'static>>, DeviceError> {
    let mut finder = Finder::new(arena, packets, settings);
    devices::on_board(command_line, interrupts, |kind, device| finder.take(kind, device))?;
    finder.complete()
}

impl<'a, T: Transport> Finder<'a, T> {
    fn new(arena: &'a mut Option<Region>, packets: &'a Pool, settings: &'a Settings) -> Self {
        Finder { arena, packets, settings, cluster: None, outside: None, disk: None }
    }

    fn take(&mut self, kind: DeviceType, transport: T) -> Result<(), DeviceError> {
        match kind {
            DeviceType::Network => self.take_card(transport),
            DeviceType::Block => self.take_disk(transport),
            // Whatever else the machine has is none of our business.
            _ => Ok(()),
        }
    }

    fn take_card(&mut self, transport: T) -> Result<(), DeviceError> {
        let kind = card_kind(&transport);
        let (name, place, queue_size_max, receive_buffers) = match kind {
            Some(MAC_CLUSTER) => {
                let size = self.settings.ring_size;
                ("card of the cluster", &mut self.cluster, size, cluster_receive_buffers(size))
            }
            _ => ("card of the clients", &mut self.outside, RING_SIZE, OUTSIDE_RECEIVE_BUFFERS),
        };
        let config = NetConfig { queue_size_max, receive_buffers, ..NetConfig::default() };
        let arena = &mut *self.arena;
        let card = VirtioNet::new(transport, config, self.packets.clone(), |bytes| {
            devices::cut(arena, bytes)
        })
        .map_err(|error| DeviceError::Unusable(name, error))?;
        // For who looks into the log: nobody waits for it, and the port takes what it can.
        let (rings, offloads) = (card.ring_format(), card.offloads());
        let _ = writeln!(Serial::new(), "coterie: {name}: {rings} rings, {offloads}");
        let [first, second, kind, ..] = card.mac().0;
        if [first, second] != MAC_PREFIX || kind > MAC_OUTSIDE {
            return Err(DeviceError::Stranger(card.mac()));
        }
        match place.replace(card) {
            None => Ok(()),
            Some(_) => Err(DeviceError::Twice(name)),
        }
    }

    fn take_disk(&mut self, transport: T) -> Result<(), DeviceError> {
        let without_flush = match self.settings.without_flush {
            true => WithoutFlush::Accept,
            false => WithoutFlush::Refuse,
        };
        let config = BlkConfig { without_flush, ..BlkConfig::default() };
        let arena = &mut *self.arena;
        let disk = VirtioBlk::new(transport, config, |bytes| devices::cut(arena, bytes))
            .map_err(|error| DeviceError::Unusable("disk", error))?;
        match self.disk.replace(disk) {
            None => Ok(()),
            Some(_) => Err(DeviceError::Twice("disk")),
        }
    }

    fn complete(self) -> Result<Devices<T>, DeviceError> {
        Ok(Devices {
            cluster: self
                .cluster
                .ok_or(DeviceError::Missing("card of the cluster (02:77:00:…)"))?,
            outside: self.outside,
            disk: self.disk.ok_or(DeviceError::Missing("disk"))?,
        })
    }
}

/// The byte of the card's address that says what it is for, as the configuration space shows it.
fn card_kind<T: Transport>(transport: &T) -> Option<u8> {
    transport.read_config_space::<u8>(2).ok()
}
