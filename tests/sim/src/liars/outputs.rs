//! What replicas want done, and who does it.

use base::Duration;
use bft::{Event, Message, Output, Said};
use bytes::Bytes;
use crypto::Digest;

use super::cluster::{Cluster, Happening};
use super::copy::Copy;
use super::counts::Kind;
use super::machine::Machine;

impl Cluster {
    /// Does everything that a replica wants done, and checks it.
    pub(super) fn settle(&mut self, place: usize) {
        while let Some(node) = &mut self.copies[place].node {
            node.check_invariants();
            let Some(output) = node.poll_output() else { break };
            self.carry_out(place, output);
        }
    }

    fn carry_out(&mut self, place: usize, output: Output) {
        match output {
            Output::Send { to, message } => {
                let to = self.config.keyring.slot(to).unwrap();
                self.send(place, to, message);
            }
            Output::Persist(persist) => {
                let at = self.now + Duration::from_micros(self.prng.between(100, 3_000));
                // The disk finishes writes in their order.
                let last = self.last_write(place);
                let at = last.map_or(at, |last| last.max(at));
                let life = self.copies[place].life;
                let (ticket, records) = (persist.ticket, persist.records);
                self.copies[place].writing += records.len();
                self.schedule(at, Happening::Written { place, life, ticket, records });
            }
            Output::Apply { sequence, batch, certificate } => {
                let (group, quorums) = (self.config.keyring.clone(), self.config.quorums);
                let copy = &mut self.copies[place];
                if copy.is_honest() {
                    let group = (&group, quorums);
                    self.checkers.applies(&copy.machine, sequence, &batch, &certificate, group);
                }
                copy.machine.apply(sequence, &batch);
                if copy.is_honest() {
                    self.checkers.applied(&copy.machine);
                }
                copy.node.as_mut().unwrap().handle_applied(sequence);
            }
            Output::TakeCheckpoint { sequence } => {
                let copy = &mut self.copies[place];
                let snapshot = copy.machine.snapshot();
                let digest = Digest::of(&snapshot);
                copy.snapshots.insert(sequence, snapshot);
                copy.node.as_mut().unwrap().handle_checkpoint(sequence, digest);
            }
            Output::Stable { certificate } => {
                let copy = &mut self.copies[place];
                copy.snapshots = copy.snapshots.split_off(&certificate.sequence);
            }
            Output::ReadState { peer, sequence, offset, max_bytes } => {
                let copy = &mut self.copies[place];
                let Some(all) = copy.snapshots.get(&sequence) else { return };
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
                // Small parts, so that there are several.
                let part = all.slice(from..all.len().min(from + max_bytes.min(100)));
                if !part.is_empty() {
                    let (node, total) = (copy.node.as_mut().unwrap(), all.len() as u64);
                    node.handle_state_part(peer, sequence, offset, total, part);
                }
            }
            Output::StoreState { certificate, offset, bytes, is_last } => {
                self.store_state(place, &certificate, offset, &bytes, is_last);
            }
            Output::Event(event) => {
                self.expect_liar(place, &event);
                self.copies[place].events.push(event);
            }
        }
    }

    /// Nobody honest is called a liar by anybody honest.
    fn expect_liar(&self, place: usize, event: &Event) {
        let (Event::Equivocation { primary: named, .. } | Event::FalseVote { from: named, .. }) =
            event
        else {
            return;
        };
        let is_named = |copy: &&Copy| self.config.keyring.member(copy.slot) == Some(*named);
        let is_right = self.copies.iter().filter(is_named).all(|copy| !copy.is_honest());
        assert!(is_right || !self.copies[place].is_honest(), "an honest replica is named: {event}");
    }

    fn store_state(
        &mut self,
        place: usize,
        certificate: &bft::QuorumCertificate,
        offset: u64,
        bytes: &Bytes,
        is_last: bool,
    ) {
        let (sequence, now) = (certificate.sequence, self.now);
        let copy = &mut self.copies[place];
        if offset == 0 {
            copy.incoming.clear();
        }
        copy.incoming.extend_from_slice(bytes);
        if !is_last {
            return;
        }
        let node = copy.node.as_mut().unwrap();
        if Digest::of(&copy.incoming) != certificate.digest {
            return node.handle_state_refused(sequence, now);
        }
        copy.machine = Machine::restore(&copy.incoming).unwrap();
        copy.snapshots.insert(sequence, core::mem::take(&mut copy.incoming).into());
        node.handle_state_installed(sequence, now);
    }

    fn send(&mut self, place: usize, to: usize, message: Message) {
        let copy = &mut self.copies[place];
        if copy.is_honest() {
            self.checkers.sends(copy.slot, &message, &copy.disk);
        }
        self.counts.add(Kind::Twinned, copy.is_twin.into());
        let said = match &mut copy.adversary {
            Some(adversary) => {
                self.counts.note(Kind::Lied(adversary.lie()));
                adversary.tamper(to, &message, &mut self.prng)
            }
            None => {
                let mut bytes = Vec::new();
                message.encode(&mut bytes);
                vec![Said { from: copy.slot, to, bytes: bytes.into(), late: Duration::ZERO }]
            }
        };
        for said in said {
            self.messages += 1;
            self.bytes += said.bytes.len() as u64;
            self.put_on_wire(place, &said);
        }
    }

    /// To every copy of the replica that it is for.
    fn put_on_wire(&mut self, place: usize, said: &Said) {
        let Said { from, to, late, .. } = *said;
        let places: Vec<usize> =
            (0..self.copies.len()).filter(|at| self.copies[*at].slot == to).collect();
        for to in places {
            let (now, prng, counts) = (self.now, &mut self.prng, &mut self.counts);
            let arrivals = self.network.arrivals((place, to), now, prng, counts);
            for at in arrivals {
                let bytes = said.bytes.clone();
                self.schedule(at + late, Happening::Arrives { from, to, bytes });
            }
        }
    }
}
