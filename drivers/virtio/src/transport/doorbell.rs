//! Kicking one queue, apart from the rest of a device.

use core::fmt::Debug;

use super::Transport;

/// How one queue is kicked, by whoever owns that queue.
pub trait Doorbell: Debug + Send {
    /// Tells the device to look at the queue.
    fn ring(&mut self);
}

/// A device whose queues can be kicked apart from it. It best sends its interrupts as messages: a line has to
/// be acknowledged by whoever has the device.
pub trait Doorbells: Transport {
    /// What kicks a queue.
    type Doorbell: Doorbell;

    /// What kicks this queue.
    ///
    /// # Panics
    /// If the queue is not set up.
    fn doorbell(&self, queue: u16) -> Self::Doorbell;
}
