//! The trees of the database, and what their keys and values are.

/// The trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TreeId {
    /// VoD id → record.
    Vods,
    /// Stream id, NUL, start, id → id.
    ByStream,
    /// Creation date, id → id.
    ByCreated,
    /// Path of the finished file, NUL, id → id.
    ByPath,
    /// Digest of an object's target and key, id → id, of records that name it.
    ByObject,
    /// Creation date, id → id, of records whose local file is not freed.
    Unfreed,
    /// Journal key of a finished file or a kept original → role and VoD id.
    Known,
    /// Journal key → entry.
    Journal,
    /// Journal key of an open entry → the attempts that ended in the death of the process.
    Open,
    /// Stream id, NUL, journal key of a quarantined entry that waits for the stream's parameters → nothing.
    Waiting,
    /// `p` and reserved path → journal key; `k` and journal key → reserved path.
    Names,
    /// Stream id → codec configuration.
    Codecs,
    /// Opaque key → state of a multipart upload.
    Ledger,
    /// Delivery id → delivery.
    Deliveries,
    /// Target, NUL, due time, newest first, delivery id → nothing.
    ByDue,
    /// Sequence number → event.
    Events,
    /// VoD id → revision, of records that a replica has not been told about.
    Replica,
    /// Stream id → nothing, of streams whose codec configuration a replica has not been told about.
    Taught,
    /// Schema version, first and last sequence number, last revision, cursors of event consumers, targets that are paused.
    Meta,
}

impl TreeId {
    pub(super) const ALL: [Self; 19] = [
        Self::Vods,
        Self::ByStream,
        Self::ByCreated,
        Self::ByPath,
        Self::ByObject,
        Self::Unfreed,
        Self::Known,
        Self::Journal,
        Self::Open,
        Self::Waiting,
        Self::Names,
        Self::Codecs,
        Self::Ledger,
        Self::Deliveries,
        Self::ByDue,
        Self::Events,
        Self::Replica,
        Self::Taught,
        Self::Meta,
    ];

    /// Its name in the database and in messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Vods => "vods",
            Self::ByStream => "by_stream",
            Self::ByCreated => "by_created",
            Self::ByPath => "by_path",
            Self::ByObject => "by_object",
            Self::Unfreed => "unfreed",
            Self::Known => "known",
            Self::Journal => "journal",
            Self::Open => "open",
            Self::Waiting => "waiting",
            Self::Names => "names",
            Self::Codecs => "codecs",
            Self::Ledger => "ledger",
            Self::Deliveries => "deliveries",
            Self::ByDue => "by_due",
            Self::Events => "events",
            Self::Replica => "replica",
            Self::Taught => "taught",
            Self::Meta => "meta",
        }
    }
}
