//! The headers that let a receiver know who sent a request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::options::Signature;

/// The signature of a body, as the name and value of a header.
pub(super) fn sign(by: Signature, secret: &[u8], id: &str, timestamp: i64, body: &[u8]) -> (&'static str, String) {
    match by {
        Signature::Standard => {
            let code = code(secret, &[id.as_bytes(), b".", timestamp.to_string().as_bytes(), b".", body]);
            ("webhook-signature", format!("v1,{}", STANDARD.encode(code)))
        }
        Signature::Ams => ("x-ams-signature", format!("sha256={}", hex::encode(code(secret, &[body])))),
    }
}

fn code(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return Vec::new() };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks reference libraries.
    #[test]
    fn the_known_answer_of_standard_webhooks() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed = sign(Signature::Standard, &secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned()));
    }

    /// RFC 4231, test case 2.
    #[test]
    fn the_known_answer_of_hmac() {
        let signed = sign(Signature::Ams, b"Jefe", "", 0, b"what do ya want for nothing?");
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signed, ("x-ams-signature", expected.to_owned()));
    }
}
