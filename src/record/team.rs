//! The team: a part of the sales organisation, which may be a part of another one.

use super::Declaration;
use super::declaration::fields;
use crate::event::{Entity, EntitySpec, Placement};

fields!(FIELDS {
    /// What it is called, as users and deals name it.
    NAME = "name" Latest crate::event::Kind::Text;
    /// The name of the team it is a part of.
    PARENT = "parent" History crate::event::Kind::Text;
});

/// The entity. Nothing is counted of a team: numbers by owner are summed up the teams where they
/// are read.
pub static DECLARATION: Declaration = Declaration {
    dated: &[PARENT],
    ..Declaration::of(EntitySpec {
        entity: Entity::TEAM,
        name: "team",
        table: "teams",
        placement: Placement::Home,
        fields: FIELDS,
    })
};
