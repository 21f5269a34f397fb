//! Every limit of the system, by its effect, and how the limits depend on each other.
//!
//! Sizes are in bytes, spans in milliseconds, counts are counts; the unit is the last word of a name
//! unless it is a count. A limit here is tested at, above and far above its value.

mod liars;

pub use liars::*;

// ---- Cluster ----------------------------------------------------------------------------------

/// The largest node number: node I owns the address `10.77.0.I`, and 255 is the broadcast address.
pub const NODE_ID_MAX: u16 = 254;

/// How many nodes a cluster may have. The mission asks for 32 voters; 64 leaves room for replacements.
pub const CLUSTER_NODES_MAX: usize = 64;

const _: () = assert!(CLUSTER_NODES_MAX <= NODE_ID_MAX as usize);

/// Terms and log positions in messages are at most this. From here on nobody counts to the end of 64
/// bits, so a message that names a number out of thin air cannot make a node count beyond it.
pub const RAFT_NUMBER_MAX: u64 = u64::MAX / 2;

// ---- Raft timing (Raft, section 5.6: broadcast time << election timeout << time between failures) --

/// A leader speaks to every follower at least this often.
pub const HEARTBEAT_MS: u64 = 50;

/// A follower that hears no leader for a random span of at least this long stands for election.
pub const ELECTION_TIMEOUT_MIN_MS: u64 = 150;

/// The upper end of that random span.
pub const ELECTION_TIMEOUT_MAX_MS: u64 = 300;

// Two heartbeats in a row may be lost before anybody stands for election.
const _: () = assert!(ELECTION_TIMEOUT_MIN_MS > 2 * HEARTBEAT_MS);
const _: () = assert!(ELECTION_TIMEOUT_MAX_MS >= 2 * ELECTION_TIMEOUT_MIN_MS);

// ---- Raft log ---------------------------------------------------------------------------------

/// The longest payload of one log entry: the largest value, its key and the command around them.
pub const ENTRY_PAYLOAD_MAX_BYTES: usize = VALUE_MAX_BYTES + 16 * 1024;

/// How many payload bytes one append message carries at most; a single larger entry travels alone.
pub const APPEND_BATCH_MAX_BYTES: usize = 64 * 1024;

/// How many entries one append message carries at most.
pub const APPEND_BATCH_MAX_ENTRIES: usize = 512;

/// How many append messages may be on their way to one follower.
pub const APPEND_IN_FLIGHT_MAX: usize = 16;

/// How many payload bytes may be in the log of a leader without being committed; proposals beyond are
/// refused.
pub const UNCOMMITTED_MAX_BYTES: usize = 8 * 1024 * 1024;

/// How many payload bytes of recent entries a node keeps in memory; older ones are read from its disk.
pub const ENTRY_CACHE_MAX_BYTES: usize = 8 * 1024 * 1024;

/// How many elections `raft elections` remembers.
pub const ELECTIONS_REMEMBERED: usize = 64;

const _: () = assert!(UNCOMMITTED_MAX_BYTES >= 4 * ENTRY_PAYLOAD_MAX_BYTES);
const _: () = assert!(ENTRY_CACHE_MAX_BYTES >= UNCOMMITTED_MAX_BYTES);

// ---- Raft, inside one member --------------------------------------------------------------------

/// What an entry in memory costs beyond its payload. It counts wherever entries are measured in bytes, so
/// that many small ones are bounded like few large ones.
pub const ENTRY_OVERHEAD_BYTES: usize = 128;

/// How many bytes of entries may be on their way to one follower; a single larger message travels alone.
pub const APPEND_IN_FLIGHT_MAX_BYTES: usize = 2 * 1024 * 1024;

/// How many entries are applied at once: a bound on the work between two looks at the devices.
pub const APPLY_BATCH_MAX_ENTRIES: usize = 256;

/// How many bytes of entries are applied at once; a single larger entry is applied alone.
pub const APPLY_BATCH_MAX_BYTES: usize = 256 * 1024;

/// How many reads of one member's clients may wait for a leader, and how many questions at a leader.
pub const READS_WAITING_MAX: usize = 4096;

/// A read that nobody has confirmed fails after this span, and may be tried again.
pub const READ_CONFIRM_WITHIN_MS: u64 = 500;

/// A leader whose disk has not finished a write for this long steps down: its followers do better without
/// it.
pub const PERSIST_STALL_MAX_MS: u64 = 2_000;

/// A member that knows that the leader is gone asks the others after a span of at least this long.
pub const SUSPICION_DELAY_MIN_MS: u64 = 10;

/// The upper end of that span …
pub const SUSPICION_DELAY_MAX_MS: u64 = 140;

/// … and how far apart the ranks of members are in it, if it is not too short for so many. The first of them
/// can hardly be late, so there is room for its question to reach the next one on a host that all share.
pub const SUSPICION_SLOT_MS: u64 = 4;

const _: () = assert!(SUSPICION_DELAY_MIN_MS < SUSPICION_DELAY_MAX_MS);
const _: () = assert!(SUSPICION_DELAY_MAX_MS < ELECTION_TIMEOUT_MIN_MS);

/// In a group of so many voters a candidate asks those first who have said that they would elect it …
pub const CANVASS_ALL_BELOW_VOTERS: usize = 8;

/// … and the others after this span, if it has not been elected.
pub const CANVASS_REST_AFTER_MS: u64 = 50;

const _: () = assert!(CANVASS_REST_AFTER_MS < ELECTION_TIMEOUT_MIN_MS);

/// A leader that has been silent for so many heartbeats, and for as long as its words are usually late, is
/// suspected to be gone: one heartbeat may be lost.
pub const HEARTBEATS_AWAITED: u64 = 2;

/// Words of a leader count as late by this much at the least: a machine waits for its processor now and then.
pub const HEARTBEAT_LATENESS_FLOOR_MS: u64 = 10;

/// Nobody judges a leader's silence before it has heard it for so many heartbeats.
pub const HEARTBEATS_MEASURED_MIN: u32 = 8;

/// A member that is called later than it asked for by more than this judges nobody's silence.
pub const OWN_LATENESS_MAX_MS: u64 = 10;

// Whoever is first in rank asks before the shortest election timeout, or a suspicion is of no use.
const _: () = assert!(
    HEARTBEATS_AWAITED * HEARTBEAT_MS
        + HEARTBEAT_LATENESS_FLOOR_MS
        + SUSPICION_DELAY_MIN_MS
        + SUSPICION_SLOT_MS
        < ELECTION_TIMEOUT_MIN_MS
);

/// A node that is called later than it asked for by more than this has stood still, or its clock has leapt:
/// deadlines that passed meanwhile say nothing of the others. Less happens to everybody on a busy host, and
/// nobody is replaced within a shortest election timeout.
pub const TIME_JUMP_MIN_MS: u64 = ELECTION_TIMEOUT_MIN_MS;

/// After elections without a winner the upper end of the election timeout grows by its width, up to this
/// often.
pub const ELECTION_BACKOFF_MAX: u64 = 4;

/// A learner that lacks more entries than this has not caught up, and is not made a voter.
pub const PROMOTION_LAG_MAX_ENTRIES: u64 = 256;

/// A node that is no member yet, or that removes one, asks again after this span.
pub const MEMBERS_ASK_EVERY_MS: u64 = 250;

/// Who removes a member is told within this span what has become of it.
pub const MEMBERS_ANSWER_WITHIN_MS: u64 = 3_000;

// A question outlives an election, and its sender stays a guest between two of them.
const _: () = assert!(MEMBERS_ANSWER_WITHIN_MS > 4 * ELECTION_TIMEOUT_MAX_MS);
const _: () = assert!(MEMBERS_ASK_EVERY_MS < LINK_GUEST_SILENT_MS);

/// How many configurations a member remembers whose entries it has not applied; a leader makes no more.
pub const CONFIGURATIONS_REMEMBERED: usize = 32;

/// How many bytes of a snapshot one message carries at most.
pub const SNAPSHOT_PART_MAX_BYTES: usize = 64 * 1024;

/// How many parts of a snapshot may be on their way to one follower.
pub const SNAPSHOT_PARTS_IN_FLIGHT_MAX: usize = 4;

/// The longest configuration in bytes: four lists of members and one of those that were, and their lengths.
pub const CONFIGURATION_MAX_BYTES: usize = 2 * (5 + 4 * CLUSTER_NODES_MAX + NODE_ID_MAX as usize);

/// How many damaged entries a member remembers; more are found again when they are read.
pub const DAMAGED_ENTRIES_MAX: usize = 1024;

/// How many entries a peer is asked for at once that are damaged here.
pub const REPAIR_ENTRIES_MAX: usize = 64;

/// A peer that does not give copies within this span is not waited for.
pub const REPAIR_ANSWER_WITHIN_MS: u64 = 100;

/// When nobody had a copy, all are asked again after this span.
pub const REPAIR_ROUND_MS: u64 = 1_000;

const _: () = assert!(REPAIR_ENTRIES_MAX <= APPEND_BATCH_MAX_ENTRIES);
const _: () = assert!(REPAIR_ANSWER_WITHIN_MS < REPAIR_ROUND_MS);

/// A lease is shorter than the promise that it rests on by this much, in one shortest election timeout.
pub const LEASE_DRIFT_MAX_MS: u64 = 15;

/// So much faster or slower than time the clock of a member with leases may run, in percent.
pub const LEASE_CLOCK_ERROR_MAX_PERCENT: u64 = 5;

// The slowest clock's lease ends before the fastest clock's promise does, and one percent more would be too
// much for that.
const _: () = assert!(is_lease_within_promise(LEASE_CLOCK_ERROR_MAX_PERCENT));
const _: () = assert!(!is_lease_within_promise(LEASE_CLOCK_ERROR_MAX_PERCENT + 1));

const fn is_lease_within_promise(error_percent: u64) -> bool {
    let lease_ms = ELECTION_TIMEOUT_MIN_MS - LEASE_DRIFT_MAX_MS;
    lease_ms * (100 + error_percent) <= ELECTION_TIMEOUT_MIN_MS * (100 - error_percent)
}

/// How many heartbeats a leader with leases remembers that no majority has answered.
pub const LEASE_ROUNDS_REMEMBERED: usize = 64;

/// A leader that is not called for longer than this may have stood still: its lease is void.
pub const CALL_GAP_MAX_MS: u64 = 120;

const _: () = assert!(LEASE_DRIFT_MAX_MS < ELECTION_TIMEOUT_MIN_MS);
// An idle leader is called for every heartbeat.
const _: () = assert!(CALL_GAP_MAX_MS > 2 * HEARTBEAT_MS);
const _: () = assert!(CALL_GAP_MAX_MS < ELECTION_TIMEOUT_MIN_MS);

/// The highest term that is believed: a correct cluster never comes near it, and one more still has a
/// number.
pub const TERM_MAX: u64 = u64::MAX / 2;

const _: () = assert!(APPEND_IN_FLIGHT_MAX_BYTES >= ENTRY_PAYLOAD_MAX_BYTES + ENTRY_OVERHEAD_BYTES);
const _: () = assert!(UNCOMMITTED_MAX_BYTES >= APPEND_IN_FLIGHT_MAX_BYTES);
// A read is not given up before an election could have answered it.
const _: () = assert!(READ_CONFIRM_WITHIN_MS > ELECTION_TIMEOUT_MAX_MS);
// A stalled disk is not mistaken for a lost majority, and clients outlive the change of leaders.
const _: () = assert!(PERSIST_STALL_MAX_MS > 2 * ELECTION_TIMEOUT_MAX_MS);
const _: () = assert!(PERSIST_STALL_MAX_MS + 2 * ELECTION_TIMEOUT_MAX_MS < KV_ANSWER_WITHIN_MS);

// ---- Node-to-node messages ----------------------------------------------------------------------

/// The longest message between two nodes, envelope not counted: one largest entry and its frame.
pub const MESSAGE_MAX_BYTES: usize = ENTRY_PAYLOAD_MAX_BYTES + 4 * 1024;

const _: () = assert!(MESSAGE_MAX_BYTES > SNAPSHOT_PART_MAX_BYTES + CONFIGURATION_MAX_BYTES + 64);
const _: () = assert!(ENTRY_PAYLOAD_MAX_BYTES > CONFIGURATION_MAX_BYTES);
const _: () =
    assert!(MESSAGE_MAX_BYTES > APPEND_BATCH_MAX_BYTES + 64 * APPEND_BATCH_MAX_ENTRIES / 32);

/// How many nodes that are no peers may have links: on their way in, or out, or ahead of what is known
/// here.
pub const LINK_GUESTS_MAX: usize = 16;

/// Such a node loses its link when it has been silent for this long.
pub const LINK_GUEST_SILENT_MS: u64 = 5_000;

// A node that stands for election, and one that asks to be added, speak more often than that.
const _: () = assert!(LINK_GUEST_SILENT_MS > 4 * ELECTION_TIMEOUT_MAX_MS);

// A batch travels in one message with its certificate, and so does a new view: for each number of the
// window two claims of each replica, a signature and a certificate.
const _: () = assert!(MESSAGE_MAX_BYTES > BFT_BATCH_MAX_BYTES + 4 * BFT_BATCH_MAX_REQUESTS + 4096);
const _: () = assert!(
    MESSAGE_MAX_BYTES
        > (BFT_WINDOW_MAX as usize + 1) * (64 + BFT_REPLICAS_MAX * (2 * 48 + 64) + 64)
);

// ---- Key-value service --------------------------------------------------------------------------

/// The longest key.
pub const KEY_MAX_BYTES: usize = 1024;

/// The longest value.
pub const VALUE_MAX_BYTES: usize = 1024 * 1024;

/// How many words one command may have (`MSET` with 511 pairs, `DEL` of 1023 keys).
pub const COMMAND_WORDS_MAX: usize = 1024;

/// What all keys and values together may occupy, bookkeeping included; writes that grow beyond are refused.
pub const KV_MEMORY_MAX_BYTES: usize = 16 * 1024 * 1024;

/// How many writes of one node may be under way; later ones wait in their connections.
pub const KV_WRITES_IN_FLIGHT_MAX: usize = 1024;

/// A client gets an answer within this span, with or without a quorum.
pub const KV_ANSWER_WITHIN_MS: u64 = 3_000;

// A client outlives an election or two before it hears of trouble.
const _: () = assert!(KV_ANSWER_WITHIN_MS >= 4 * ELECTION_TIMEOUT_MAX_MS);

// ---- Key-value service, inside one node ---------------------------------------------------------

/// The longest line of an inline command (Redis: `PROTO_INLINE_MAX_SIZE`); a longer one ends the
/// connection.
pub const KV_INLINE_MAX_BYTES: usize = 64 * 1024;

/// What the words of one command may measure together; a longer command is refused, its bytes are dropped.
pub const KV_COMMAND_MAX_BYTES: usize = VALUE_MAX_BYTES + 8 * 1024;

/// How many commands of one connection may be unanswered; its later bytes wait in TCP.
pub const KV_PIPELINE_MAX: usize = 128;

/// How many bytes of commands of one node's clients may be under way to the log; later ones wait.
pub const KV_WRITES_IN_FLIGHT_MAX_BYTES: usize = 4 * 1024 * 1024;

/// The longest reply that a read may ask for (`MGET`); a longer one is refused.
pub const KV_REPLY_MAX_BYTES: usize = 2 * 1024 * 1024;

/// A connection with more unsent output than this gets no further replies and is not read from.
pub const KV_OUTPUT_PAUSE_BYTES: usize = 256 * 1024;

/// What all connections together may have buffered; beyond it the one that holds most is cut off.
pub const KV_CLIENT_BUFFERS_MAX_BYTES: usize = 16 * 1024 * 1024;

/// A write that its leader did not answer, or a read whose confirmation did not come, is tried again after
/// this span.
pub const KV_RETRY_AFTER_MS: u64 = 250;

/// A try that was refused for the moment (leader busy, no leader known there) is repeated after this span.
pub const KV_REFUSED_RETRY_AFTER_MS: u64 = 20;

/// The leader advances the cluster's clock for expiring keys at most this often.
pub const KV_TICK_EVERY_MS: u64 = 20;

/// How many expired keys one log entry removes at most; the rest is invisible until later entries remove
/// it.
pub const KV_EXPIRED_PER_ENTRY_MAX: usize = 256;

/// How many bytes of long replies a session remembers for retried writes; of the rest only the fact is
/// kept.
pub const KV_SESSION_REPLIES_MAX_BYTES: usize = 64 * 1024;

/// `KEYS` is refused in a larger database; `SCAN` is not.
pub const KV_KEYS_LISTED_MAX: usize = 10_000;

/// How many keys one `SCAN` looks at, whatever its `COUNT`.
pub const KV_SCAN_COUNT_MAX: usize = 1_000;

/// How many comparisons of one byte the patterns of one `KEYS` or `SCAN` may cost.
pub const KV_PATTERN_STEPS_MAX: u64 = 4_000_000;

// A command, with a length in front of each word and the header of its entry, fits an entry.
const _: () =
    assert!(ENTRY_PAYLOAD_MAX_BYTES >= KV_COMMAND_MAX_BYTES + 4 * COMMAND_WORDS_MAX + 128);
const _: () = assert!(KV_WRITES_IN_FLIGHT_MAX_BYTES >= 2 * ENTRY_PAYLOAD_MAX_BYTES);
const _: () = assert!(KV_WRITES_IN_FLIGHT_MAX_BYTES <= UNCOMMITTED_MAX_BYTES);
const _: () = assert!(KV_PIPELINE_MAX <= KV_WRITES_IN_FLIGHT_MAX);
const _: () = assert!(KV_REPLY_MAX_BYTES > VALUE_MAX_BYTES);
const _: () =
    assert!(KV_CLIENT_BUFFERS_MAX_BYTES >= 4 * (KV_REPLY_MAX_BYTES + KV_COMMAND_MAX_BYTES));
// A client lives through several tries before it hears of trouble.
const _: () = assert!(KV_ANSWER_WITHIN_MS >= 8 * KV_RETRY_AFTER_MS);
const _: () = assert!(KV_RETRY_AFTER_MS > 4 * KV_REFUSED_RETRY_AFTER_MS);
// One pattern against one key never uses up the steps, so that a SCAN always moves on.
const _: () = assert!(KV_PATTERN_STEPS_MAX > (KEY_MAX_BYTES * KEY_MAX_BYTES) as u64);

/// How much of what has changed since a snapshot was begun is remembered for it; beyond, it is given up.
pub const KV_SNAPSHOT_KEPT_MAX_BYTES: usize = KV_MEMORY_MAX_BYTES / 2;

// ---- Snapshots ----------------------------------------------------------------------------------

/// The longest snapshot. A small disk takes only shorter ones: an eighth of it.
pub const SNAPSHOT_MAX_BYTES: usize = 24 * 1024 * 1024;

/// The longest configuration that a snapshot carries beside its data.
pub const SNAPSHOT_CONFIGURATION_MAX_BYTES: usize = 1280;

const _: () = assert!(SNAPSHOT_CONFIGURATION_MAX_BYTES >= CONFIGURATION_MAX_BYTES);

/// A snapshot is taken after so many entries if nothing else is said; earlier where room is scarce.
pub const SNAPSHOT_ENTRIES: u64 = 100_000;

/// How many indices of wanted kinds the store lists when it has read its disk: the last ones.
pub const WANTED_RECORDS_MAX: usize = 1024;

// Everything that the key-value service may hold fits a snapshot, with a quarter for its encoding.
const _: () = assert!(SNAPSHOT_MAX_BYTES >= KV_MEMORY_MAX_BYTES + KV_MEMORY_MAX_BYTES / 4);

// ---- Damage -------------------------------------------------------------------------------------

/// The disk is verified in the background, a step in this span: an idle node is woken no oftener for it.
pub const SCRUB_EVERY_MS: u64 = 2_000;

/// How many bytes one step verifies, about: 128 KiB a second, so that 64 MiB take nine minutes.
pub const SCRUB_STEP_MAX_BYTES: usize = 256 * 1024;

// ---- Packets ------------------------------------------------------------------------------------

/// How many packet buffers a node's pool has, with rings of the usual size: see [`packet_buffers`].
pub const PACKET_BUFFERS: usize = 512;

/// How many descriptors each ring of a card has, unless somebody asks for another size; `scripts/bench net`
/// measures longer ones beside it.
pub const RING_SIZE: u16 = 256;

/// How many it may have: as many as QEMU's card. The standard allows 32,768.
pub const RING_SIZE_MAX: u16 = 1024;

/// Whether rings may have so many descriptors.
pub const fn is_ring_size(size: u16) -> bool {
    size.is_power_of_two() && size <= RING_SIZE_MAX
}

const _: () = assert!(is_ring_size(RING_SIZE) && is_ring_size(RING_SIZE_MAX));

/// How many packet buffers go with rings of this size: one more for each descriptor more.
pub const fn packet_buffers(ring_size: u16) -> usize {
    PACKET_BUFFERS + ring_size.saturating_sub(RING_SIZE) as usize
}

/// How many of them wait for frames of other nodes to arrive, with rings of this size.
pub const fn cluster_receive_buffers(ring_size: u16) -> u16 {
    CLUSTER_RECEIVE_BUFFERS + ring_size.saturating_sub(RING_SIZE)
}

/// How many of them wait for frames of other nodes to arrive …
pub const CLUSTER_RECEIVE_BUFFERS: u16 = 160;

/// … and how many for frames of clients.
pub const OUTSIDE_RECEIVE_BUFFERS: u16 = 64;

/// How many frames to other nodes a card has to send at a time: whatever is more urgent waits for so many at
/// the most, 8 ms on a network of 100 Mbit/s.
pub const CLUSTER_TRANSMIT_FRAMES_MAX: usize = 64;

/// The same for frames to clients.
pub const OUTSIDE_TRANSMIT_FRAMES_MAX: usize = 32;

/// How many frames of links wait for a card, bulk not counted: the others stay with the links.
pub const URGENT_FRAMES_MAX: usize = 48;

/// How many frames of bulk wait for a card: the others stay with the links.
pub const BULK_FRAMES_MAX: usize = 48;

/// How many answers to ARP and ping wait for a card: more are dropped.
pub const NEIGHBOUR_FRAMES_MAX: usize = 8;

/// How many frames to Redis clients wait for a card: the others stay in TCP …
pub const REDIS_FRAMES_MAX: usize = 16;

/// … and how many to HTTP clients …
pub const HTTP_FRAMES_MAX: usize = 4;

/// … and to whoever wants something else, which is refused.
pub const OTHER_FRAMES_MAX: usize = 4;

/// All of these.
pub const CLIENT_FRAMES_MAX: usize =
    NEIGHBOUR_FRAMES_MAX + REDIS_FRAMES_MAX + HTTP_FRAMES_MAX + OTHER_FRAMES_MAX;

/// How many frames the stack of a card keeps: those that it has not looked at, and answers that were not
/// fetched yet.
pub const STACK_FRAMES_MAX: usize = 16;

// Even when everything waits that may, both cards can receive and send.
const _: () = assert!(
    CLUSTER_RECEIVE_BUFFERS as usize
        + OUTSIDE_RECEIVE_BUFFERS as usize
        + CLUSTER_TRANSMIT_FRAMES_MAX
        + OUTSIDE_TRANSMIT_FRAMES_MAX
        + URGENT_FRAMES_MAX
        + BULK_FRAMES_MAX
        + 2 * (CLIENT_FRAMES_MAX + STACK_FRAMES_MAX)
        <= PACKET_BUFFERS
);
// A heartbeat to each of 32 nodes, and what is urgent beside it, wait without waiting for one another.
const _: () = assert!(URGENT_FRAMES_MAX > 32);

/// The rate of a class that is shaped, in megabits a second, at the most.
pub const SHAPE_MAX_MBIT_PER_SECOND: u64 = 100_000;

/// How much of a shaped class may leave at once, at the least: some of the longest frames that a card takes.
pub const SHAPE_BURST_MIN_BYTES: u64 = 128 * 1024;

/// How many flows `netio flows` lists, unless somebody says how many.
pub const FLOWS_LISTED: usize = 32;

/// How many TCP connections of clients a node serves at once, RESP and HTTP together.
pub const CONNECTIONS_MAX: usize = 128;
