//! Comparing the objects that records name with what the stores hold.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::addressed::{VodHolder, ask_holder, holder_of};
use super::{Context, ItemSink, Operation, OperationError};
use crate::fault::chain;
use crate::fleet::CommandKind;
use crate::pipeline::{self, CopyCheck};
use crate::recording::{RemoteObject, VodRecord};

/// Asks every store for what the records name. A difference is noted in the record, where it keeps the local file from
/// being freed, and the file is delivered again if it is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VerifyVods {
    /// Only these VoDs; all if none is given.
    pub ids: Vec<String>,
    /// Read the objects and compare their bytes.
    pub download: bool,
    /// Only a part of all VoDs, another one every day, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_percent: Option<f64>,
    /// If another node has one of `ids`, which is away: leave that to the node for when it is back, within 7 days.
    pub queue: bool,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// Id of the VoD.
    pub vod_id: String,
    /// Where the object is.
    pub url: String,
    /// Whether it is as proven.
    pub same: bool,
    /// What was found, and what follows.
    pub message: String,
}

/// How many objects were looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Objects that are as proven.
    pub same: u64,
    /// Objects that are not, or that a store could not be asked for.
    pub different: u64,
}

impl Operation for VerifyVods {
    type Item = Verified;
    type Data = Verification;

    fn run(&self, context: &Context, tell: ItemSink<'_, Verified>) -> Result<Verification, OperationError> {
        let mut counts = Verification::default();
        if self.ids.is_empty() {
            for vod in context.pipeline().catalog.shared().all_vods()? {
                let vod = vod?;
                if self
                    .sample_percent
                    .is_none_or(|percent| is_in_sample(&vod.vod_id, percent, context.pipeline().clock.now_ms()))
                {
                    self.verify(context, &vod, &mut counts, tell)?;
                }
            }
        }
        let vods: Vec<_> = self.ids.iter().map(|id| holder_of(context, id)).collect::<Result<_, _>>()?;
        for (vod, id) in vods.into_iter().zip(&self.ids) {
            match vod {
                VodHolder::Here(vod) => self.verify(context, &vod, &mut counts, tell)?,
                VodHolder::Other(vod) => {
                    let one = Self { ids: vec![id.clone()], ..self.clone() };
                    let counted: Verification =
                        ask_holder(context, &vod, (CommandKind::Verify, &one, self.queue), tell)?;
                    counts.same += counted.same;
                    counts.different += counted.different;
                }
            }
        }
        Ok(counts)
    }
}

impl VerifyVods {
    fn verify(
        &self,
        context: &Context,
        vod: &VodRecord,
        counts: &mut Verification,
        tell: ItemSink<'_, Verified>,
    ) -> Result<(), OperationError> {
        for object in &vod.remote {
            context.go_on()?;
            let verified = verify_one(context, vod, object, self.download)?;
            *if verified.same { &mut counts.same } else { &mut counts.different } += 1;
            tell(verified)?;
        }
        Ok(())
    }
}

fn verify_one(
    context: &Context,
    vod: &VodRecord,
    object: &RemoteObject,
    reads: bool,
) -> Result<Verified, OperationError> {
    let ctx = context.pipeline();
    let (same, message) = match ctx.targets().verify(object, reads, context.stop()) {
        Err(error) => (false, chain(&error)),
        Ok(found) => match pipeline::note_look(&ctx.delivering, vod, object, found, reads)? {
            CopyCheck::AsProven => (true, "as proven".to_owned()),
            CopyCheck::SentAgain(difference) => (false, format!("{}; it is uploaded again", difference.words)),
            CopyCheck::OnlyNoted(difference) => {
                (false, format!("{}; no local file is left to upload", difference.words))
            }
        },
    };
    Ok(Verified { vod_id: vod.vod_id.clone(), url: object.url.clone(), same, message })
}

/// Whether a VoD belongs to the sample of a day.
fn is_in_sample(vod_id: &str, percent: f64, now_ms: i64) -> bool {
    const DAY_MS: i64 = 24 * 3_600 * 1_000;
    let digest = blake3::hash(format!("{vod_id} {}", now_ms.div_euclid(DAY_MS)).as_bytes());
    let [a, b, ..] = *digest.as_bytes();
    f64::from(u16::from_be_bytes([a, b])) < percent / 100.0 * 65_536.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_about_its_share_and_another_every_day() {
        let taken =
            |percent, now_ms| (0..10_000).filter(|i| is_in_sample(&i.to_string(), percent, now_ms)).collect::<Vec<_>>();
        let today = taken(5.0, 0);
        assert!((400..600).contains(&today.len()), "{}", today.len());
        assert_eq!(today, taken(5.0, 1000));
        assert_ne!(today, taken(5.0, 90_000_000));
        assert_eq!(taken(100.0, 0).len(), 10_000);
    }
}
