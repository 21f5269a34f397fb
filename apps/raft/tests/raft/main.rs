//! What a group of members does: scenario by scenario, thousands of times, and as text.

mod behaviour;
mod cluster;
mod flow;
mod leadership;
mod members;
mod split_votes;
mod stage;
mod transcripts;
