//! The user: a seller or a manager, with the team and the manager they had at any time.

use super::Declaration;
use super::declaration::fields;
use crate::event::{Entity, EntitySpec, Placement};

fields!(FIELDS {
    /// What they are called.
    NAME = "name" Latest crate::event::Kind::Text;
    /// Their team.
    TEAM = "team" History crate::event::Kind::Text;
    /// Who they report to.
    MANAGER_ID = "manager_id" History crate::event::Kind::Reference;
    /// Whether they still work here.
    ACTIVE = "active" Latest crate::event::Kind::Flag;
});

/// The entity. Nothing is counted of a user: their team and manager are looked up, by date, where
/// numbers by owner are read.
pub static DECLARATION: Declaration = Declaration {
    dated: &[TEAM, MANAGER_ID],
    ..Declaration::of(EntitySpec {
        entity: Entity::USER,
        name: "user",
        table: "users",
        placement: Placement::Home,
        fields: FIELDS,
    })
};
