//! Every limit of the system, by its effect, and how the limits depend on each other.
//!
//! Sizes are in bytes, spans in milliseconds, counts are counts; the unit is the last word of a name
//! unless it is a count. A limit here is tested at, above and far above its value.

// ---- Cluster ----------------------------------------------------------------------------------

/// The largest node number: node I owns the address `10.77.0.I`, and 255 is the broadcast address.
pub const NODE_ID_MAX: u16 = 254;

/// How many nodes a cluster may have. The mission asks for 32 voters; 64 leaves room for replacements.
pub const CLUSTER_NODES_MAX: usize = 64;

const _: () = assert!(CLUSTER_NODES_MAX <= NODE_ID_MAX as usize);

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

/// How many payload bytes may be in the log of a leader without being committed; proposals beyond are refused.
pub const UNCOMMITTED_MAX_BYTES: usize = 8 * 1024 * 1024;

/// How many payload bytes of recent entries a node keeps in memory; older ones are read from its disk.
pub const ENTRY_CACHE_MAX_BYTES: usize = 8 * 1024 * 1024;

/// How many elections `raft elections` remembers.
pub const ELECTIONS_REMEMBERED: usize = 64;

const _: () = assert!(UNCOMMITTED_MAX_BYTES >= 4 * ENTRY_PAYLOAD_MAX_BYTES);
const _: () = assert!(ENTRY_CACHE_MAX_BYTES >= UNCOMMITTED_MAX_BYTES);

// ---- Node-to-node messages ----------------------------------------------------------------------

/// The longest message between two nodes, envelope not counted: one largest entry and its frame.
pub const MESSAGE_MAX_BYTES: usize = ENTRY_PAYLOAD_MAX_BYTES + 4 * 1024;

const _: () =
    assert!(MESSAGE_MAX_BYTES > APPEND_BATCH_MAX_BYTES + 64 * APPEND_BATCH_MAX_ENTRIES / 32);

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

// ---- Packets ------------------------------------------------------------------------------------

/// How many packet buffers a node's pool has.
pub const PACKET_BUFFERS: usize = 512;

/// How many TCP connections of clients a node serves at once, RESP and HTTP together.
pub const CONNECTIONS_MAX: usize = 128;
