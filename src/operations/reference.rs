//! How the recordings of a stream are coded, told by an intact one: what a crashed recording lacks whose header was never written.

use std::fs::File;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::recording::name::printable_text;
use crate::salvage::Origin;
use crate::{durable, finish, pipeline};

/// Learns codec parameters from an intact recording of a stream; quarantined recordings of the stream that lack them are tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TeachStream {
    /// Id of the stream.
    pub id: String,
    /// The intact recording, an absolute path on the daemon's machine. It is only read.
    pub path: PathBuf,
}

/// What was learned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamTaught {
    /// Id of the stream.
    pub stream_id: String,
    /// Quarantined recordings that are tried again now.
    pub retried: usize,
}

impl Operation for TeachStream {
    type Item = NoItem;
    type Data = StreamTaught;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<StreamTaught, OperationError> {
        super::process::absolute(std::slice::from_ref(&self.path))?;
        let file = durable::open_to_read(&self.path).map_err(|error| OperationError::in_one_line(&error))?;
        teach_stream(context, &self.id, &file)
    }
}

/// The same from a recording that is open.
pub fn teach_stream(context: &Context, stream_id: &str, file: &File) -> Result<StreamTaught, OperationError> {
    if stream_id.is_empty() {
        return Err(OperationError::invalid("`id` must not be empty"));
    }
    let reference = finish::reference_in(file, Origin::Given).ok_or_else(|| {
        OperationError::invalid("the file has no usable codec parameters; nothing was changed").with_next_step(format!(
            "Use an intact MP4, WebM, Matroska or FLV recording that the same encoder made of the stream `{}`.",
            printable_text(stream_id)
        ))
    })?;
    let retried = pipeline::teach(&context.pipeline().journaling, stream_id, &reference)?;
    Ok(StreamTaught { stream_id: stream_id.to_owned(), retried })
}
