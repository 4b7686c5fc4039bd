-- The definitions of the metrics, and the log of their records. The greatest live epoch is the current one.
CREATE TABLE epochs
(
    epoch       UInt32,
    definitions String COMMENT 'JSON: what the numbers of this epoch mean',
    generation  UInt32 COMMENT 'of the log: facts and checkpoints belong to it',
    partitions  UInt32 COMMENT 'of the log: what the homes of records are counted by',
    live        UInt8 COMMENT '1 once views may read it',
    version     UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY epoch;

-- The position of each shard. Written last in a flush, read first in a restart.
CREATE TABLE checkpoints
(
    generation   UInt32,
    shard        UInt32,
    next_offset  UInt64,
    message_hash UInt64 COMMENT 'of the last message folded, to know the log again by',
    append_time  Int64 COMMENT 'the greatest folded, in µs since the epoch'
)
ENGINE = ReplacingMergeTree(next_offset)
PARTITION BY generation
ORDER BY (generation, shard);

CREATE VIEW current_epoch AS
SELECT
    max(epoch) AS epoch,
    argMax(generation, e.epoch) AS generation,
    argMax(partitions, e.epoch) AS partitions,
    argMax(definitions, e.epoch) AS definitions
FROM epochs AS e FINAL
WHERE live = 1;

-- The time up to which everything is folded: what is newer is incomplete.
CREATE VIEW watermark AS
SELECT toDateTime(intDiv(min(append_time), 1000000)) AS watermark
FROM checkpoints FINAL
WHERE generation = (SELECT generation FROM current_epoch);
