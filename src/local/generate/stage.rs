//! The CRM's own table of stages.

use super::deal::STAGES;
use super::world::World;

impl World {
    /// The stages there are, each with its probability. Whether a deal is won or lost its own
    /// status says.
    pub(super) fn introduce_stages(&mut self, at: i64) {
        self.beforehand(|world| {
            for (stage, probability, _) in STAGES {
                let name = stage[..1].to_uppercase() + &stage[1..];
                let event = world
                    .event("stage", "upserted", stage.to_owned(), at)
                    .text("stage", stage)
                    .text("name", &name)
                    .number("probability", probability);
                world.publish(event);
            }
        });
    }

    /// Publishes what was there before all else: what follows is as it would be without it.
    pub(super) fn beforehand(&mut self, publish: impl FnOnce(&mut World)) {
        let (random, published) = (self.random.clone(), self.published);
        publish(self);
        (self.random, self.published) = (random, published);
    }
}
