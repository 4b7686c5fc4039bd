//! Presets: mappings of well-known sources, compiled in. Each is a file of `schemas/presets`, to be copied and changed where a source is customised.

/// The presets there are.
pub const NAMES: [&str; 3] = ["salesforce", "hubspot", "pipedrive"];

/// Mappings that are only to be copied, since which number means what differs from source to source.
pub const TEMPLATES: [&str; 1] = ["redmine"];

/// The mapping of a preset or template.
pub fn text(name: &str) -> Option<&'static str> {
    match name {
        "salesforce" => Some(include_str!("../../schemas/presets/salesforce.toml")),
        "hubspot" => Some(include_str!("../../schemas/presets/hubspot.toml")),
        "pipedrive" => Some(include_str!("../../schemas/presets/pipedrive.toml")),
        "redmine" => Some(include_str!("../../schemas/presets/redmine.toml")),
        _ => None,
    }
}
