//! What the cards take and tell, and what is fetched for them.

use base::{Duration, Instant};

use super::Node;
use crate::output::Port;
use crate::traffic::CardReport;

impl Node {
    /// A card takes so many frames now; more wait, the most urgent in front. Whoever never says so takes any
    /// number.
    pub fn handle_room(&mut self, port: Port, frames: usize) {
        self.traffic.set_room(port, frames);
    }

    /// Whether frames wait until this card takes more.
    pub fn is_congested(&self, port: Port) -> bool {
        self.traffic.is_congested(port)
    }

    /// A card tells of itself, which is for pages to show.
    pub fn handle_card(&mut self, port: Port, report: CardReport, now: Instant) {
        self.traffic.handle_card(port, report, now);
    }

    /// So many frames were received, worked on and sent within this span, which is for pages to show.
    pub fn handle_turn(&mut self, frames: u64, span: Duration) {
        self.traffic.handle_turn(frames, span);
    }

    /// Fetches frames of links that are to be sent, as many as may wait for the cards.
    pub(super) fn fetch_from_links(&mut self, now: Instant) {
        let replica = &mut self.replica;
        self.traffic.fetch_from_links(|has_room| replica.poll_transmit(has_room, now), now);
    }

    /// Tells the stacks how many frames they may make.
    pub(super) fn tell_stacks_of_room(&mut self) {
        self.clients.set_room(|port, origin| self.traffic.room(port, origin));
    }

    /// Fetches the frames that the stacks have made, all of them: they were told how many there may be.
    pub(super) fn fetch_from_stacks(&mut self, now: Instant) {
        while let Some((port, frame)) = self.clients.poll_transmit() {
            self.traffic.send_of_stack(port, frame, now);
        }
    }
}
