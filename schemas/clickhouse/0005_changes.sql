-- What each message changed in a record: one row per record and message.
CREATE TABLE changes
(
    generation       UInt32,
    shard            UInt32,
    entity           LowCardinality(String),
    id               String,
    version          UInt64 COMMENT 'the offset after the message',
    appended_at      DateTime64(6, 'UTC') COMMENT 'when the log took the message',
    event_time       DateTime64(6, 'UTC'),
    status_before    LowCardinality(String),
    status           LowCardinality(String),
    owner_before     LowCardinality(String),
    owner            LowCardinality(String),
    amount_before    Nullable(Decimal(18, 4)),
    amount           Nullable(Decimal(18, 4)),
    closed_at_before Nullable(DateTime64(6, 'UTC')),
    closed_at        Nullable(DateTime64(6, 'UTC'))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYear(appended_at)
ORDER BY (generation, shard, entity, id, version);
