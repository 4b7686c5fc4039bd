-- Two instances that start for the very first time both write the first epoch, under one insert_deduplication_token: the first insert counts and
-- the other is left out. A table without replicas remembers tokens only if it has a window.
ALTER TABLE epochs MODIFY SETTING non_replicated_deduplication_window = 1000;
