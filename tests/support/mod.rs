//! What several integration tests share, and the benchmark, which uses only a part of it.
#![allow(dead_code)]

pub mod alert_world;
pub mod clickhouse;
pub mod clients;
pub mod connect;
pub mod crm;
pub mod customers;
pub mod events;
pub mod faults;
pub mod feeds;
pub mod figures;
pub mod handover;
pub mod kafka;
pub mod monitoring;
pub mod pipeline;
pub mod postgres;
pub mod pure;
pub mod read_model;
pub mod ready;
pub mod redmine;
pub mod reference;
pub mod scenario;
pub mod small_disk;
pub mod steps;
pub mod stored;
