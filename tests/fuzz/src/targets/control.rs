//! The commands of the switch.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use vswitch::control::{Request, execute};
use vswitch::port::PortKind;
use vswitch::switch::{Config, PortConfig, Switch};

pub(super) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let folder = Folder::new();
    let port = |name: &str| PortConfig {
        name: name.into(),
        kind: PortKind::Stream,
        path: folder.0.join(name),
        station: None,
    };
    let ports = ["1", "2", "3"].map(port).into();
    let config = Config { control: folder.0.join("control"), ports, seed: 1, stop: None };
    let mut switch = Switch::new(&config).expect("the folder is ours");
    for line in text.lines() {
        let request = serde_json::from_str::<Request>(line);
        if let Ok(request) = &request {
            let written = serde_json::to_string(request).expect("it has a form");
            assert_eq!(serde_json::from_str::<Request>(&written).ok().as_ref(), Some(request));
        }
        // What names a file would make it, wherever that is.
        if matches!(request, Ok(Request::AddPort { .. } | Request::Capture { .. })) {
            continue;
        }
        let before = names(&mut switch);
        let reply = execute(line, &mut switch);
        match reply["ok"] {
            Value::Bool(true) => assert!(request.is_ok(), "{line:?} is no command"),
            Value::Bool(false) => {
                assert!(reply["error"].as_str().is_some_and(|error| !error.is_empty()));
                assert_eq!(names(&mut switch), before, "what fails changes nothing");
            }
            _ => panic!("{reply} is no reply"),
        }
        assert!(!reply.to_string().contains('\n'), "a reply is a line");
    }
}

fn names(switch: &mut Switch) -> Vec<String> {
    switch.ports().map(|port| port.name.clone()).collect()
}

/// A folder of one run, removed when it is over.
#[derive(Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Folder {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("coterie-fuzz-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("there is a folder for temporary files");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // If it stays, nobody is harmed.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
