//! What the CRM calls the sources of its leads.

use super::world::World;

const NAMES: [(&str, &str); 7] = [
    ("website", "Website"),
    ("referral", "Referral"),
    ("event", "Trade fair or event"),
    ("partner", "Partner"),
    ("outbound", "Cold call"),
    ("ads", "Online advertising"),
    ("webinar", "Webinar"),
];

impl World {
    /// The names of the sources.
    pub(super) fn introduce_labels(&mut self, at: i64) {
        self.beforehand(|world| {
            for (source, name) in NAMES {
                let event = world
                    .event("label", "upserted", format!("source-{source}"), at)
                    .text("dimension", "source")
                    .text("value", source)
                    .text("name", name);
                world.publish(event);
            }
        });
    }
}
