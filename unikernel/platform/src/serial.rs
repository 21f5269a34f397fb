//! The serial port COM1 (a 16550 UART): the node's console. Never waits, except to say why it stops.

use core::fmt;

use uart_16550::SerialPort;

const COM1: u16 = 0x3f8;

/// Bytes to and from whoever is at the other end of COM1. The kernel has set the port up.
#[derive(Debug)]
pub struct Serial {
    port: SerialPort,
}

impl Serial {
    /// How often a last word is tried before it is given up: a stuck reader must not keep a node alive.
    const PATIENCE: usize = 100_000;

    /// A handle on COM1.
    pub fn new() -> Serial {
        // SAFETY: COM1 is at this address on every machine that is supported, and access is not shared:
        // the node has one thread, and the kernel writes only when it ends the machine.
        Serial { port: unsafe { SerialPort::new(COM1) } }
    }

    /// Reads what has arrived, at most `room.len()` bytes; answers how many.
    pub fn read(&mut self, room: &mut [u8]) -> usize {
        let mut count = 0;
        for place in room {
            let Ok(byte) = self.port.try_receive() else { break };
            *place = byte;
            count += 1;
        }
        count
    }

    /// Writes as much as the port takes now; answers how many bytes that was.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        bytes.iter().take_while(|&&byte| self.port.try_send_raw(byte).is_ok()).count()
    }

    /// Writes all, with patience; for messages before the loop runs and after it ended.
    pub fn write_all(&mut self, mut bytes: &[u8]) {
        let mut patience = Serial::PATIENCE;
        while !bytes.is_empty() && patience > 0 {
            let count = self.write(bytes);
            bytes = &bytes[count..];
            patience -= usize::from(count == 0);
        }
    }

    /// Waits a while until the last byte has left.
    pub fn flush(&mut self) {
        self.write_all(b"");
    }
}

impl Default for Serial {
    fn default() -> Serial {
        Serial::new()
    }
}

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for line in text.split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(line) => {
                    self.write_all(line.as_bytes());
                    self.write_all(b"\r\n");
                }
                None => self.write_all(line.as_bytes()),
            }
        }
        Ok(())
    }
}
