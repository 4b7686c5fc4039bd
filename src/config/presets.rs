//! Presets: mappings of well-known sources, compiled in. Each is a file of `schemas/presets`, to be
//! copied and changed where a source is customised.

/// The presets there are.
pub const NAMES: [&str; 9] = [
    "salesforce",
    "hubspot",
    "pipedrive",
    "odoo",
    "suitecrm",
    "espocrm",
    "web-form",
    "woocommerce",
    "shopify",
];

/// Mappings that are only to be copied, since which number means what differs from source to
/// source.
pub const TEMPLATES: [&str; 1] = ["redmine"];

/// The mapping of a preset or template.
pub fn text(name: &str) -> Option<&'static str> {
    match name {
        "salesforce" => Some(include_str!("../../schemas/presets/salesforce.toml")),
        "hubspot" => Some(include_str!("../../schemas/presets/hubspot.toml")),
        "pipedrive" => Some(include_str!("../../schemas/presets/pipedrive.toml")),
        "redmine" => Some(include_str!("../../schemas/presets/redmine.toml")),
        "odoo" => Some(include_str!("../../schemas/presets/odoo.toml")),
        "suitecrm" => Some(include_str!("../../schemas/presets/suitecrm.toml")),
        "espocrm" => Some(include_str!("../../schemas/presets/espocrm.toml")),
        "web-form" => Some(include_str!("../../schemas/presets/web-form.toml")),
        "woocommerce" => Some(include_str!("../../schemas/presets/woocommerce.toml")),
        "shopify" => Some(include_str!("../../schemas/presets/shopify.toml")),
        _ => None,
    }
}
