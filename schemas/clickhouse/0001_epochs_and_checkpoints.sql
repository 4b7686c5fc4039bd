-- Under which definitions the numbers are kept, and in which log their records are. The greatest live epoch is the current one.
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

-- How far each shard is. Written last in a flush, read first in a restart.
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

-- Up to where everything is known to be folded: what is younger can't be judged.
CREATE VIEW watermark AS
SELECT toDateTime(intDiv(min(append_time), 1000000)) AS watermark
FROM checkpoints FINAL
WHERE generation = (SELECT generation FROM current_epoch);
