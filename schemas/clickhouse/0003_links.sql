-- The links between records, stored at the home of their target. Withdrawn links stay, so that an older one can't come back.
CREATE TABLE links
(
    epoch         UInt32,
    shard         UInt32,
    target_entity LowCardinality(String),
    target        String,
    sender_entity LowCardinality(String),
    sender        String,
    link_version  UInt64 COMMENT 'the offset, in the sender''s log, of the state it was taken from',
    withdrawn     UInt8,
    status        LowCardinality(String) COMMENT 'of a deal: open, won, lost',
    closed_at     Nullable(DateTime64(6, 'UTC')),
    amount        Nullable(Decimal(18, 4)),
    currency      LowCardinality(String),
    content       String COMMENT 'all that was told: what a restart reads' CODEC(ZSTD(1)),
    version       UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY epoch
ORDER BY (epoch, shard, target_entity, target, sender_entity, sender);
