//! Checksums: what one read pass computes, what stores report, and whether the two agree. Pure.
//!
//! S3 reports CRC-64/NVME over the whole object where it was asked for at the upload; else its entity tag is MD5 (single
//! put) or MD5 over the parts' MD5s with `-N` (multipart), unless KMS or customer keys encrypt. Azure reports MD5 of
//! blobs that were put in one request, and CRC-64 (the same polynomial, least significant byte first) of each block as it
//! arrives. Google reports CRC-32C.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::ChecksumMode;
use super::diagnose::Provider;

/// One part's or file's checksums in the making.
pub(super) struct ChecksumHasher {
    crc64: Option<Crc>,
    crc32c: Option<Crc>,
    md5: Option<Md5>,
    sha256: Option<Sha256>,
}

impl std::fmt::Debug for ChecksumHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChecksumHasher")
    }
}

/// The checksums of what was read from disk, as far as they were computed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Checksums {
    /// Bytes.
    pub size_bytes: u64,
    /// CRC-64/NVME, base64 of eight bytes, most significant first, as S3 writes it.
    pub crc64nvme: Option<String>,
    /// CRC-32C, base64 of four bytes, most significant first, as Google writes it.
    pub crc32c: Option<String>,
    /// MD5, hex.
    pub md5: Option<String>,
    /// MD5 over the parts' MD5s, hex and number of parts, as S3 makes the entity tag of a multipart upload.
    pub md5_of_parts: Option<(String, u64)>,
    /// SHA-256, base64, and SHA-256 over the parts' SHA-256s with their number, as S3 writes both.
    pub sha256: Option<String>,
    pub sha256_of_parts: Option<(String, u64)>,
    /// Whether the store confirmed the checksum of every part as it arrived and then put exactly those together.
    pub every_part_confirmed: bool,
}

/// A whole-object checksum as a store reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReportedChecksum {
    /// Base64 as in the header.
    Crc64Nvme(String),
    /// Base64 as in the header.
    Crc32c(String),
    /// Hex.
    Md5(String),
    /// Hex and number of parts.
    Md5OfParts(String, u64),
    /// Base64 as in the header.
    Sha256(String),
    /// Base64 and number of parts.
    Sha256OfParts(String, u64),
}

/// What came of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ChecksumComparison {
    /// Equal; `algorithm:value`.
    Same(String),
    /// Not equal.
    Differs {
        /// What was read from disk.
        ours: String,
        /// What the store reports.
        theirs: String,
    },
    /// The store reports nothing that was computed here.
    NotComparable,
}

impl ChecksumHasher {
    /// Computes what a file that goes up in one request may be compared by. MD5 is the expensive one: S3 reports better
    /// things, and where it does not, the file is read once more.
    pub fn for_upload(provider: Provider, mode: ChecksumMode, with_crc64: bool) -> Self {
        let md5 = provider == Provider::Azure || mode == ChecksumMode::Md5;
        Self {
            crc64: (with_crc64 && matches!(provider, Provider::S3 | Provider::Azure))
                .then(|| Crc::new(CrcAlgorithm::Crc64Nvme)),
            crc32c: (provider == Provider::Gcs).then(|| Crc::new(CrcAlgorithm::Crc32Iscsi)),
            md5: md5.then(Md5::new),
            sha256: (mode == ChecksumMode::Sha256).then(<Sha256 as sha2::Digest>::new),
        }
    }

    /// Computes exactly what a store reported.
    pub fn for_report(report: &ReportedChecksum) -> Self {
        Self {
            crc64: matches!(report, ReportedChecksum::Crc64Nvme(_)).then(|| Crc::new(CrcAlgorithm::Crc64Nvme)),
            crc32c: matches!(report, ReportedChecksum::Crc32c(_)).then(|| Crc::new(CrcAlgorithm::Crc32Iscsi)),
            md5: matches!(report, ReportedChecksum::Md5(_)).then(Md5::new),
            sha256: matches!(report, ReportedChecksum::Sha256(_)).then(<Sha256 as sha2::Digest>::new),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.crc64.iter_mut().chain(self.crc32c.iter_mut()).for_each(|c| c.update(bytes));
        self.md5.iter_mut().for_each(|m| m.update(bytes));
        self.sha256.iter_mut().for_each(|s| sha2::Digest::update(s, bytes));
    }

    pub fn finish(self, size_bytes: u64) -> Checksums {
        Checksums {
            size_bytes,
            crc64nvme: self.crc64.map(|c| base64(&c.finalize().to_be_bytes())),
            crc32c: self.crc32c.map(|c| base64(&c.finalize().to_be_bytes()[4..])),
            md5: self.md5.map(|m| hex::encode(m.finalize())),
            sha256: self.sha256.map(|s| base64(&sha2::Digest::finalize(s))),
            ..Checksums::default()
        }
    }
}

/// The checksums of one part, as far as they were computed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct PartSums {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    crc64: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    crc32c: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    md5: Option<[u8; 16]>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    sha256: Option<[u8; 32]>,
}

impl PartSums {
    /// Computes what a provider may be compared by; MD5 is added only where nothing better was answered. A CRC-64 that was
    /// already computed of these bytes, to be sent with them to S3, is not computed again.
    pub fn of(provider: Provider, mode: ChecksumMode, bytes: &[u8], sent_crc64: Option<&str>) -> Self {
        let sent = sent_crc64.filter(|_| provider == Provider::S3).and_then(crc64_of_text);
        let crc64 = matches!(provider, Provider::S3 | Provider::Azure)
            .then(|| sent.unwrap_or_else(|| crc_fast::crc64_nvme(bytes)));
        let crc32c = (provider == Provider::Gcs).then(|| crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes));
        let sha256 = (mode == ChecksumMode::Sha256).then(|| part_sha256(bytes));
        Self { crc64, crc32c, md5: None, sha256 }
    }

    /// What Google reports of an object, if it is read so.
    pub fn of_crc32c(text: &str) -> Option<Self> {
        let crc: [u8; 4] = of_base64(text)?.try_into().ok()?;
        Some(Self { crc32c: Some(u32::from_be_bytes(crc).into()), ..Self::default() })
    }

    /// The SHA-256 as S3 writes it.
    pub fn sha256_text(&self) -> Option<String> {
        self.sha256.map(|sha256| base64(&sha256))
    }

    /// The CRC-32C as Google writes it.
    pub fn crc32c_text(&self) -> Option<String> {
        self.crc32c.map(|crc| base64(&crc.to_be_bytes()[4..]))
    }

    pub fn add_md5(&mut self, bytes: &[u8]) {
        self.md5 = Some(part_md5(bytes));
    }

    /// The CRC-64/NVME as a provider writes it: Azure puts the least significant byte first.
    pub fn crc64_as(&self, provider: Provider) -> Option<String> {
        let crc = self.crc64?;
        Some(base64(&if provider == Provider::Azure { crc.to_le_bytes() } else { crc.to_be_bytes() }))
    }
}

/// The checksums of a whole file from those of its parts, in order, with their sizes: nothing is read again.
pub(super) fn combine<'a>(parts: impl Iterator<Item = (u64, &'a PartSums)> + Clone) -> Checksums {
    let joined = |algorithm, of: fn(&PartSums) -> Option<u64>| {
        let mut crcs = parts.clone().map(|(size, sums)| of(sums).map(|crc| (crc, size)));
        let first = crcs.next()??.0;
        crcs.try_fold(first, |so_far, next| {
            next.map(|(crc, size)| crc_fast::checksum_combine(algorithm, so_far, crc, size))
        })
    };
    let crc64 = joined(CrcAlgorithm::Crc64Nvme, |s| s.crc64);
    let crc32c = joined(CrcAlgorithm::Crc32Iscsi, |s| s.crc32c);
    let md5: Option<Vec<_>> = parts.clone().map(|(_, sums)| sums.md5).collect();
    let sha256: Option<Vec<_>> = parts.clone().map(|(_, sums)| sums.sha256).collect();
    Checksums {
        size_bytes: parts.map(|(size, _)| size).sum(),
        crc64nvme: crc64.map(|c| base64(&c.to_be_bytes())),
        crc32c: crc32c.map(|c| base64(&c.to_be_bytes()[4..])),
        md5_of_parts: md5.filter(|m| !m.is_empty()).map(|m| md5_of_parts(&m)),
        sha256_of_parts: sha256.filter(|s| !s.is_empty()).map(|s| sha256_of_parts(&s)),
        ..Checksums::default()
    }
}

/// MD5 of one part.
pub(super) fn part_md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

/// MD5 over the parts' MD5s.
pub(super) fn md5_of_parts(parts: &[[u8; 16]]) -> (String, u64) {
    (hex::encode(Md5::digest(parts.concat())), parts.len() as u64)
}

/// SHA-256 of one part.
pub(super) fn part_sha256(bytes: &[u8]) -> [u8; 32] {
    <Sha256 as sha2::Digest>::digest(bytes).into()
}

/// SHA-256 over the parts' SHA-256s.
pub(super) fn sha256_of_parts(parts: &[[u8; 32]]) -> (String, u64) {
    (base64(&<Sha256 as sha2::Digest>::digest(parts.concat())), parts.len() as u64)
}

/// The whole-object checksum that an answer carries, the strongest first.
///
/// `header` looks a header up by its lower-case name.
pub(super) fn reported<'a>(
    provider: Provider,
    etag: Option<&str>,
    header: impl Fn(&str) -> Option<&'a str>,
) -> Option<ReportedChecksum> {
    match provider {
        Provider::S3 => s3_crc(&header).or_else(|| s3_sha256(&header)).or_else(|| s3_etag(etag, &header)),
        Provider::Azure => header("content-md5").and_then(of_base64).map(|md5| ReportedChecksum::Md5(hex::encode(md5))),
        // Google always reports the hash; what imitates it may have only an entity tag.
        Provider::Gcs => {
            header("x-goog-hash").and_then(goog_crc32c).map(ReportedChecksum::Crc32c).or_else(|| s3_etag(etag, &header))
        }
        Provider::Disk => None,
    }
}

fn s3_crc<'a>(header: &impl Fn(&str) -> Option<&'a str>) -> Option<ReportedChecksum> {
    let value = header("x-amz-checksum-crc64nvme")?;
    let is_whole = header("x-amz-checksum-type").is_none_or(|t| t.eq_ignore_ascii_case("FULL_OBJECT"));
    (is_whole && !value.contains('-')).then(|| ReportedChecksum::Crc64Nvme(value.to_owned()))
}

fn s3_sha256<'a>(header: &impl Fn(&str) -> Option<&'a str>) -> Option<ReportedChecksum> {
    let value = header("x-amz-checksum-sha256")?;
    match value.split_once('-') {
        Some((digest, parts)) => Some(ReportedChecksum::Sha256OfParts(digest.to_owned(), parts.parse().ok()?)),
        None => Some(ReportedChecksum::Sha256(value.to_owned())),
    }
}

/// An entity tag is a digest only where neither KMS nor customer keys encrypt.
fn s3_etag<'a>(etag: Option<&str>, header: &impl Fn(&str) -> Option<&'a str>) -> Option<ReportedChecksum> {
    let by_kms = header("x-amz-server-side-encryption").is_some_and(|s| s.starts_with("aws:kms"));
    if by_kms || header("x-amz-server-side-encryption-customer-algorithm").is_some() {
        return None;
    }
    let etag = etag?.trim_matches('"').to_ascii_lowercase();
    let (digest, parts) = match etag.split_once('-') {
        Some((digest, parts)) => (digest, Some(parts.parse::<u64>().ok()?)),
        None => (etag.as_str(), None),
    };
    let is_md5 = digest.len() == 32 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    is_md5.then(|| match parts {
        Some(parts) => ReportedChecksum::Md5OfParts(digest.to_owned(), parts),
        None => ReportedChecksum::Md5(digest.to_owned()),
    })
}

pub(super) fn goog_crc32c(value: &str) -> Option<String> {
    value.split(',').find_map(|v| v.trim().strip_prefix("crc32c=")).map(str::to_owned)
}

/// Compares what was read from disk with what the store reports.
pub(super) fn compare(ours: &Checksums, theirs: Option<&ReportedChecksum>) -> ChecksumComparison {
    let pair = match theirs {
        Some(ReportedChecksum::Crc64Nvme(value)) => ("crc64nvme", ours.crc64nvme.clone(), value.clone()),
        Some(ReportedChecksum::Crc32c(value)) => ("crc32c", ours.crc32c.clone(), value.clone()),
        Some(ReportedChecksum::Md5(value)) => ("md5", ours.md5.clone(), value.clone()),
        Some(ReportedChecksum::Md5OfParts(value, parts)) => {
            // Cut differently, the same content has another tag.
            let same_cut = ours.md5_of_parts.as_ref().filter(|(_, n)| n == parts);
            ("md5-of-parts", same_cut.map(|(v, n)| format!("{v}-{n}")), format!("{value}-{parts}"))
        }
        Some(ReportedChecksum::Sha256(value)) => ("sha256", ours.sha256.clone(), value.clone()),
        Some(ReportedChecksum::Sha256OfParts(value, parts)) => {
            let same_cut = ours.sha256_of_parts.as_ref().filter(|(_, n)| n == parts);
            ("sha256-of-parts", same_cut.map(|(v, n)| format!("{v}-{n}")), format!("{value}-{parts}"))
        }
        None => return parts_confirmed(ours),
    };
    match pair {
        (name, Some(ours), theirs) if ours == theirs => ChecksumComparison::Same(format!("{name}:{ours}")),
        (name, Some(ours), theirs) => {
            ChecksumComparison::Differs { ours: format!("{name}:{ours}"), theirs: format!("{name}:{theirs}") }
        }
        (_, None, _) => parts_confirmed(ours),
    }
}

fn parts_confirmed(ours: &Checksums) -> ChecksumComparison {
    match &ours.crc64nvme {
        Some(crc) if ours.every_part_confirmed => ChecksumComparison::Same(format!("crc64nvme-by-part:{crc}")),
        _ => ChecksumComparison::NotComparable,
    }
}

/// The number of eight bytes in base64, most significant first, as S3 writes a CRC-64.
fn crc64_of_text(text: &str) -> Option<u64> {
    of_base64(text)?.try_into().ok().map(u64::from_be_bytes)
}

/// RFC 4648 §4, with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn of_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums_of(bytes: &[u8], provider: Provider) -> Checksums {
        let mut hasher = ChecksumHasher::for_upload(provider, ChecksumMode::Md5, true);
        hasher.update(bytes);
        hasher.finish(bytes.len() as u64)
    }

    fn none(_: &str) -> Option<&'static str> {
        None
    }

    #[test]
    fn the_check_values_of_the_algorithms_come_out() {
        // CRC catalogue check values over "123456789": CRC-64/NVME ae8b14860a799888, CRC-32C e3069283.
        let s3 = sums_of(b"123456789", Provider::S3);
        assert_eq!(s3.crc64nvme.unwrap(), base64(&0xae8b_1486_0a79_9888u64.to_be_bytes()));
        assert_eq!(s3.md5.unwrap(), "25f9e794323b453885f5181f1b624d0b");
        let gcs = sums_of(b"123456789", Provider::Gcs);
        assert_eq!(gcs.crc32c.unwrap(), base64(&0xe306_9283u32.to_be_bytes()));
    }

    #[test]
    fn checksums_of_parts_join_to_those_of_the_whole() {
        let bytes: Vec<u8> = (0..100_000u32).map(|i| i.to_le_bytes()[1]).collect();
        for provider in [Provider::S3, Provider::Azure, Provider::Gcs] {
            let parts: Vec<_> = bytes
                .chunks(33_333)
                .map(|c| (c.len() as u64, PartSums::of(provider, ChecksumMode::Auto, c, None)))
                .collect();
            let joined = combine(parts.iter().map(|(size, sums)| (*size, sums)));
            let whole = Checksums { md5: None, ..sums_of(&bytes, provider) };
            assert_eq!(joined, whole, "{provider:?}");
        }
        let mut with_md5 = PartSums::of(Provider::S3, ChecksumMode::Sha256, &bytes, None);
        with_md5.add_md5(&bytes);
        let joined = combine([(1, &with_md5), (1, &with_md5)].into_iter());
        assert_eq!(joined.md5_of_parts, Some(md5_of_parts(&[part_md5(&bytes); 2])));
        assert_eq!(joined.sha256_of_parts, Some(sha256_of_parts(&[part_sha256(&bytes); 2])));
        assert_eq!(combine([(1, &with_md5), (1, &PartSums::default())].into_iter()).crc64nvme, None);
    }

    #[test]
    fn a_crc_that_was_sent_with_its_bytes_is_the_one_that_is_computed_of_them() {
        let computed = PartSums::of(Provider::S3, ChecksumMode::Auto, b"123456789", None);
        let sent = computed.crc64_as(Provider::S3).unwrap();
        let of = |provider, sent| PartSums::of(provider, ChecksumMode::Auto, b"123456789", sent);
        assert_eq!(of(Provider::S3, Some(&sent)), computed);
        for unreadable in ["", "AAAA", "!", "AAAAAAAAAAA=-2"] {
            assert_eq!(of(Provider::S3, Some(unreadable)), computed, "{unreadable}");
        }
        assert_eq!(of(Provider::Azure, Some("AAAAAAAAAAA=")), computed, "only S3 is told one");
    }

    #[test]
    fn an_entity_tag_is_compared_only_where_it_is_a_digest() {
        let sums = sums_of(b"hello", Provider::S3);
        let etag = |tag: &str| compare(&sums, reported(Provider::S3, Some(tag), none).as_ref());
        assert_eq!(
            etag("\"5d41402abc4b2a76b9719d911017c592\""),
            ChecksumComparison::Same("md5:5d41402abc4b2a76b9719d911017c592".into())
        );
        assert!(matches!(etag("\"00000000000000000000000000000000\""), ChecksumComparison::Differs { .. }));
        assert_eq!(etag("\"0x8D9\""), ChecksumComparison::NotComparable);
        assert_eq!(etag("\"5d41402abc4b2a76b9719d911017c592-3\""), ChecksumComparison::NotComparable);
        let kms = |name: &str| (name == "x-amz-server-side-encryption").then_some("aws:kms");
        assert_eq!(reported(Provider::S3, Some("\"00000000000000000000000000000000\""), kms), None);
    }

    #[test]
    fn a_whole_object_crc_is_preferred_and_a_composite_one_is_not_taken_for_it() {
        let sums = sums_of(b"hello", Provider::S3);
        let crc = sums.crc64nvme.clone().unwrap();
        let whole = |name: &str| (name == "x-amz-checksum-crc64nvme").then_some(crc.as_str());
        let report = reported(Provider::S3, Some("\"00000000000000000000000000000000\""), whole);
        assert_eq!(compare(&sums, report.as_ref()), ChecksumComparison::Same(format!("crc64nvme:{crc}")));
        let composite = |name: &str| match name {
            "x-amz-checksum-crc64nvme" => Some("AAAAAAAAAAA=-2"),
            _ => None,
        };
        assert_eq!(reported(Provider::S3, None, composite), None);
    }

    #[test]
    fn parts_that_were_confirmed_count_where_the_whole_is_not_reported() {
        let mut sums = sums_of(b"hello", Provider::Azure);
        assert_eq!(compare(&sums, None), ChecksumComparison::NotComparable);
        sums.every_part_confirmed = true;
        assert!(matches!(compare(&sums, None), ChecksumComparison::Same(s) if s.starts_with("crc64nvme-by-part:")));
    }

    #[test]
    fn googles_and_azures_headers_are_read() {
        let goog = |name: &str| (name == "x-goog-hash").then_some("crc32c=4waSgw==,md5=x");
        assert_eq!(reported(Provider::Gcs, None, goog), Some(ReportedChecksum::Crc32c("4waSgw==".into())));
        let azure = |name: &str| (name == "content-md5").then_some("XUFAKrxLKna5cZ2REBfFkg==");
        let md5 = ReportedChecksum::Md5("5d41402abc4b2a76b9719d911017c592".into());
        assert_eq!(reported(Provider::Azure, None, azure), Some(md5));
    }
}
