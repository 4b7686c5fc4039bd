//! The start of an epoch: a side input of every shard. Its id is the epoch's number.

use super::Declaration;
use super::declaration::fields;
use crate::event::{Entity, EntitySpec, Placement, SideInput};

fields!(FIELDS {});

/// The entity.
pub static DECLARATION: Declaration = Declaration::of(EntitySpec {
    entity: Entity::EPOCH,
    name: "epoch",
    table: "epoch_starts",
    placement: Placement::Everywhere(SideInput::EpochStart),
    fields: FIELDS,
});
