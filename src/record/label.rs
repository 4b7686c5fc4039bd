//! The label: what a value is called that records give as an id or a code, such as a source or a
//! reason.

use super::Declaration;
use super::declaration::fields;
use crate::event::{Entity, EntitySpec, Placement};

fields!(FIELDS {
    /// The dimension whose value it names.
    DIMENSION = "dimension" Latest crate::event::Kind::Text;
    /// The value, as records have it.
    VALUE = "value" Latest crate::event::Kind::Text;
    /// What it is called.
    NAME = "name" Latest crate::event::Kind::Text;
});

/// The entity. Nothing is counted by it: names are looked up where numbers are shown, so that a new
/// one moves no history.
pub static DECLARATION: Declaration = Declaration::of(EntitySpec {
    entity: Entity::LABEL,
    name: "label",
    table: "labels",
    placement: Placement::Home,
    fields: FIELDS,
});
