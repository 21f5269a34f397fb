//! Requests that wait to be executed.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use base::{Duration, Instant, limits};
use bytes::Bytes;
use crypto::Digest;

use crate::batch::Batch;
use crate::numbers::{Sequence, ViewNumber, VoterSet};

#[derive(Clone, Debug)]
struct Pending {
    request: Bytes,
    /// Who asks for it: this replica's own slot for its clients.
    from: usize,
    /// Since when it waits: since it came, or the view began.
    since: Instant,
    /// When it is given to all replicas, if it still waits then.
    relay_at: Instant,
    /// How often it was.
    relayed: u32,
    /// The view in which this replica, as the primary, last proposed it.
    proposed: Option<ViewNumber>,
}

/// Why a request is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// It waits already, or was executed lately.
    Known,
    /// Too many wait.
    Full,
}

/// Requests in the order in which they came.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    queue: BTreeMap<u64, Pending>,
    places: BTreeMap<Digest, u64>,
    counts: Vec<usize>,
    /// Requests are given to all when they have waited for so long: those of this replica's clients, and
    /// those of others. Whoever brought these may have forgotten them.
    relay_after: [Duration; 2],
    next_place: u64,
    /// What was executed since the checkpoint before the last: late copies are not ordered again.
    executed: BTreeMap<Digest, Sequence>,
}

impl Requests {
    pub(crate) fn new(replicas: usize, relay_after: [Duration; 2]) -> Requests {
        Requests {
            relay_after,
            queue: BTreeMap::new(),
            places: BTreeMap::new(),
            counts: vec![0; replicas],
            next_place: 0,
            executed: BTreeMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether the request waits already, or was executed lately.
    pub(crate) fn knows(&self, request: &[u8]) -> bool {
        self.is_known(&Digest::of(request))
    }

    fn is_known(&self, digest: &Digest) -> bool {
        self.places.contains_key(digest) || self.executed.contains_key(digest)
    }

    /// Whether one more request of this replica may wait.
    pub(crate) fn has_room(&self, from: usize, own: usize) -> bool {
        (from == own || self.counts[from] < limits::BFT_PENDING_PER_PEER_MAX)
            && self.queue.len() < limits::BFT_PENDING_MAX
    }

    /// Takes a request that the replica with this slot asks for.
    pub(crate) fn add(
        &mut self,
        request: Bytes,
        from: usize,
        own: usize,
        now: Instant,
    ) -> Result<Digest, Refusal> {
        let digest = Digest::of(&request);
        if self.is_known(&digest) {
            return Err(Refusal::Known);
        }
        if !self.has_room(from, own) {
            return Err(Refusal::Full);
        }
        let place = self.next_place;
        self.next_place += 1;
        self.counts[from] += 1;
        self.places.insert(digest, place);
        let relay_at = now + self.relay_after[usize::from(from != own)];
        let pending = Pending { request, from, since: now, relay_at, relayed: 0, proposed: None };
        self.queue.insert(place, pending);
        Ok(digest)
    }

    /// Whom the requests of this batch came from, as far as they wait here.
    pub(crate) fn askers(&self, batch: &Batch) -> VoterSet {
        let mut askers = VoterSet::default();
        for place in batch.digests().iter().filter_map(|digest| self.places.get(digest)) {
            askers.insert(self.queue[place].from);
        }
        askers
    }

    /// A batch was executed: what is in it waits no more.
    pub(crate) fn note_executed(&mut self, batch: &Batch, sequence: Sequence) {
        for digest in batch.digests() {
            self.executed.insert(*digest, sequence);
            if let Some(place) = self.places.remove(digest) {
                let pending = self.queue.remove(&place).expect("places are those of the queue");
                self.counts[pending.from] -= 1;
            }
        }
    }

    /// What was executed up to here is not remembered.
    pub(crate) fn forget_executed(&mut self, up_to: Sequence) {
        self.executed.retain(|_, sequence| *sequence > up_to);
    }

    /// Proposals of this batch by this replica in this view, so that they are not proposed twice.
    pub(crate) fn note_proposed(&mut self, batch: &Batch, view: ViewNumber) {
        for digest in batch.digests() {
            if let Some(place) = self.places.get(digest) {
                self.queue.get_mut(place).expect("it is there").proposed = Some(view);
            }
        }
    }

    /// The next batch to propose in this view: the oldest requests that were not proposed in it, of each
    /// asker in turn.
    pub(crate) fn next_batch(&mut self, view: ViewNumber) -> Option<Batch> {
        let mut room = limits::BFT_BATCH_MAX_BYTES;
        let mut requests = Vec::new();
        for place in self.in_turns(view) {
            let pending = self.queue.get_mut(&place).expect("it is there");
            if requests.len() == limits::BFT_BATCH_MAX_REQUESTS || pending.request.len() > room {
                break;
            }
            room -= pending.request.len();
            pending.proposed = Some(view);
            requests.push(pending.request.clone());
        }
        (!requests.is_empty()).then(|| Batch::new(requests))
    }

    /// The places of what was not proposed in this view: first the oldest request of each asker, then the
    /// second of each. One that asks for much delays the n-th of another by n of its own.
    fn in_turns(&self, view: ViewNumber) -> Vec<u64> {
        let mut seen = vec![0_usize; self.counts.len()];
        let open = self.queue.iter().filter(|(_, pending)| pending.proposed != Some(view));
        let mut turns: Vec<(usize, u64)> = open
            .map(|(place, pending)| {
                seen[pending.from] += 1;
                (seen[pending.from], *place)
            })
            .collect();
        turns.sort_unstable();
        turns.into_iter().map(|(_, place)| place).collect()
    }

    /// A view begins: everything waits anew.
    pub(crate) fn restart(&mut self, now: Instant) {
        for pending in self.queue.values_mut() {
            pending.since = now;
        }
    }

    /// Since when the oldest request waits.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|(_, pending)| pending.since)
    }

    /// When the next request is given to all.
    pub(crate) fn relay_due(&self) -> Option<Instant> {
        self.queue.values().map(|pending| pending.relay_at).min()
    }

    /// The requests that are to be given to all by now, and next at `again` if they still wait then; those of
    /// others half as often each time, for all replicas do the same. As many as fit a batch.
    pub(crate) fn relay(&mut self, own: usize, now: Instant, again: Instant) -> Vec<Bytes> {
        let more = self.relay_after[1];
        let due = self.queue.values_mut().filter(|one| one.relay_at <= now);
        due.take(limits::BFT_BATCH_MAX_REQUESTS)
            .map(|pending| {
                pending.relayed = (pending.relayed + 1).min(limits::BFT_TIMEOUT_DOUBLINGS_MAX);
                let is_own = pending.from == own;
                pending.relay_at =
                    if is_own { again } else { now + more.times(1 << pending.relayed) };
                pending.request.clone()
            })
            .collect()
    }

    /// This replica's own that nobody else may know of are given to all now.
    pub(crate) fn hasten(&mut self, own: usize, now: Instant) {
        let mine = self.queue.values_mut().filter(|one| one.from == own && one.relayed == 0);
        mine.for_each(|one| one.relay_at = one.relay_at.min(now));
    }

    /// What waits, for a new primary. As many as fit a batch.
    pub(crate) fn waiting(&self, own: usize) -> Vec<Bytes> {
        let mine = self.queue.values().filter(|pending| pending.from == own);
        mine.take(limits::BFT_BATCH_MAX_REQUESTS).map(|pending| pending.request.clone()).collect()
    }

    pub(crate) fn check_invariants(&self) {
        assert_eq!(self.queue.len(), self.places.len());
        assert_eq!(self.queue.len(), self.counts.iter().sum());
        assert!(self.queue.len() <= limits::BFT_PENDING_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that asks for as much as it may does not make another wait for all of it.
    #[test]
    fn askers_have_turns() {
        let mut requests = Requests::new(4, [Duration::from_millis(250); 2]);
        let now = Instant::from_millis(1);
        let long = |number: u16| {
            let mut bytes = vec![0; limits::BFT_BATCH_MAX_BYTES / 8];
            bytes[..2].copy_from_slice(&number.to_le_bytes());
            Bytes::from(bytes)
        };
        for number in 0..limits::BFT_PENDING_PER_PEER_MAX as u16 {
            requests.add(long(number), 3, 0, now).unwrap();
        }
        assert_eq!(requests.add(long(600), 3, 0, now), Err(Refusal::Full));
        let [first, second] = ["first", "second"].map(|text| Bytes::from_static(text.as_bytes()));
        requests.add(first.clone(), 1, 0, now).unwrap();
        requests.add(second.clone(), 1, 0, now).unwrap();
        let batch = requests.next_batch(ViewNumber(0)).unwrap();
        assert_eq!(batch.requests()[..4], [long(0), first, long(1), second]);
        assert_eq!(batch.requests().len(), 2 + 7, "and what else there is room for");
        let batch = requests.next_batch(ViewNumber(0)).unwrap();
        assert_eq!(batch.requests()[..2], [long(7), long(8)], "in the order in which they came");
        requests.check_invariants();
    }
}
