//! What the codes, texts and network failures of stores mean.

use super::*;

fn coded(status: u16, code: &str, text: &str) -> Cause {
    let seen = FailureDetails {
        status: Some(status),
        code: Some(code.into()),
        text: text.into(),
        ..FailureDetails::default()
    };
    diagnose(&seen, Verb::Put, Provider::S3)
}

#[test]
fn the_servers_code_tells_what_a_403_means() {
    assert_eq!(coded(403, "InvalidAccessKeyId", ""), Cause::UnknownKeyId);
    assert_eq!(coded(403, "SignatureDoesNotMatch", ""), Cause::WrongSecret);
    assert_eq!(coded(403, "RequestTimeTooSkewed", ""), Cause::ClockSkew { by_s: None });
    assert_eq!(coded(403, "AccessDenied", ""), Cause::Denied { permission: "s3:PutObject".into() });
    assert_eq!(coded(403, "AccessDenied", "Forbidden: Invalid signature"), Cause::WrongSecret);
    assert_eq!(coded(403, "AccessDenied", "no kms:GenerateDataKey"), Cause::KmsDenied);
    let named = "User is not authorized to perform: s3:PutObjectTagging on resource: x";
    assert_eq!(coded(403, "AccessDenied", named), Cause::Denied { permission: "s3:PutObjectTagging".into() });
    assert_eq!(coded(404, "NoSuchBucket", ""), Cause::NoSuchBucket);
    assert_eq!(coded(400, "ExpiredToken", ""), Cause::ExpiredCredentials);
    assert_eq!(coded(400, "ExpiredTokenException", ""), Cause::ExpiredCredentials);
    assert_eq!(coded(400, "BadDigest", ""), Cause::Corrupted);
    assert_eq!(coded(400, "RequestTimeout", ""), Cause::Timeout);
    assert_eq!(coded(400, "InvalidPart", ""), Cause::PartsLost);
    assert_eq!(coded(400, "InvalidBlockList", ""), Cause::PartsLost);
    assert_eq!(coded(403, "CannotVerifyCopySource", "This request is not authorized"), Cause::NotSupported);
    assert_eq!(coded(404, "CannotVerifyCopySource", "The specified resource does not exist"), Cause::NotSupported);
    assert_eq!(coded(500, "CannotVerifyCopySource", "not within the specified time"), Cause::ServerError);
    assert_eq!(coded(412, "SourceConditionNotMet", ""), Cause::Taken);
}

#[test]
fn what_a_token_service_says_is_not_taken_for_the_stores_word() {
    let refused = |status, code: Option<&str>, text: &str| {
        let code = code.map(str::to_owned);
        let seen = FailureDetails {
            status: Some(status),
            code,
            text: text.into(),
            is_of_identity: true,
            ..FailureDetails::default()
        };
        diagnose(&seen, Verb::Head, Provider::Azure)
    };
    for (status, code) in [
        (400, Some("InvalidIdentityToken")),
        (403, Some("AccessDenied")),
        (401, Some("invalid_client")),
        (400, Some("invalid_grant")),
        (404, None),
        (409, None),
        (412, None),
    ] {
        assert_eq!(refused(status, code, ""), Cause::IdentityRefused, "{status} {code:?}");
    }
    assert_eq!(refused(400, Some("ExpiredTokenException"), ""), Cause::ExpiredCredentials);
    assert_eq!(
        refused(401, Some("invalid_client"), "AADSTS700024: not within its valid time"),
        Cause::ExpiredCredentials
    );
    assert_eq!(refused(401, Some("invalid_client"), "AADSTS7000215: Invalid client secret"), Cause::WrongSecret);
    for (status, code, cause) in [
        (429, None, Cause::Throttled),
        (503, None, Cause::Throttled),
        (500, None, Cause::ServerError),
        (400, Some("Throttling"), Cause::Throttled),
        (400, Some("IDPCommunicationError"), Cause::ServerError),
        (400, Some("temporarily_unavailable"), Cause::ServerError),
    ] {
        assert_eq!(refused(status, code, ""), cause);
        assert_eq!(cause.class(), Class::Transient);
    }
    assert_eq!(Cause::IdentityRefused.class(), Class::Environment);
}

#[test]
fn a_redirect_names_the_region_and_a_bare_403_with_a_wrong_clock_names_the_clock() {
    let redirect = FailureDetails { status: Some(301), region: Some("eu-west-1".into()), ..FailureDetails::default() };
    let cause = diagnose(&redirect, Verb::Head, Provider::S3);
    assert_eq!(cause, Cause::WrongRegion { region: Some("eu-west-1".into()) });
    assert!(cause.advice().contains("eu-west-1"));
    let skewed = FailureDetails { status: Some(403), skew_s: Some(-1200), ..FailureDetails::default() };
    assert_eq!(diagnose(&skewed, Verb::Head, Provider::S3), Cause::ClockSkew { by_s: Some(-1200) });
}

#[test]
fn the_network_speaks_through_the_chain() {
    let network = |network, text: &str| {
        let seen = FailureDetails { network: Some(network), text: text.into(), ..FailureDetails::default() };
        diagnose(&seen, Verb::Put, Provider::Gcs)
    };
    assert_eq!(network(NetworkFailure::Connect, "dns error: Name or service not known"), Cause::Dns);
    assert_eq!(
        network(NetworkFailure::Connect, "tcp connect error: Connection refused (os error 111)"),
        Cause::Refused
    );
    assert_eq!(network(NetworkFailure::Connect, "invalid peer certificate: UnknownIssuer"), Cause::Tls);
    assert_eq!(
        network(NetworkFailure::Connect, "received corrupt message of type InvalidContentType"),
        Cause::EndpointIsHttp
    );
    assert_eq!(network(NetworkFailure::Other, "invalid HTTP version parsed"), Cause::EndpointIsHttps);
    assert_eq!(network(NetworkFailure::Timeout, "operation timed out"), Cause::Timeout);
    assert_eq!(network(NetworkFailure::Lost, "connection reset"), Cause::ConnectionLost);
}

#[test]
fn what_an_operator_must_change_is_the_environment_and_the_rest_is_tried_again() {
    assert_eq!(Cause::WrongSecret.class(), Class::Environment);
    assert_eq!(Cause::NoSuchBucket.class(), Class::Environment);
    assert_eq!(Cause::Throttled.class(), Class::Transient);
    assert_eq!(Cause::Refused.class(), Class::Transient);
    assert_eq!(Cause::Taken.class(), Class::Permanent);
}

#[test]
fn a_login_page_is_not_a_store() {
    let seen = FailureDetails { status: Some(200), is_html: true, ..FailureDetails::default() };
    assert_eq!(diagnose(&seen, Verb::Put, Provider::S3), Cause::NotAStore);
}
