//! Whom a server's certificate is for, as SIP has it (RFC 5922 §7): first its `sip:` URIs, then its
//! DNS names and addresses.
//!
//! Only the question of the name is answered here. Chain, validity, usage and signatures are checked
//! by `rustls` and `webpki` before it, as they check them for everybody
//! (docs/decisions/0029-sip-identities.md).

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::net::IpAddr;
use std::sync::Arc;
use webpki::EndEntityCert;
use wire::{Host, Uri};

/// Believes the servers whose certificates these authorities have signed for their names.
#[derive(Debug)]
pub(crate) struct Verifier {
    authorities: RootCertStore,
    /// Somebody chose these authorities for this server. Those of the system vouch for DNS names and
    /// addresses: to them a `sip:` URI is a word that nobody has checked.
    chosen: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(crate) fn new(
        authorities: RootCertStore,
        chosen: bool,
        provider: &CryptoProvider,
    ) -> Arc<Self> {
        let algorithms = provider.signature_verification_algorithms;
        Arc::new(Verifier { authorities, chosen, algorithms })
    }

    /// RFC 5922 §7.1: where a certificate has SIP domains as URIs, these are all that it is for.
    fn check_name(
        &self,
        end_entity: &CertificateDer<'_>,
        certificate: &ParsedCertificate<'_>,
        server: &ServerName<'_>,
    ) -> Result<(), Error> {
        let leaf = EndEntityCert::try_from(end_entity)
            .map_err(|error| CertificateError::Other(OtherError(Arc::new(error))))?;
        let domains: Vec<&str> = leaf.valid_uri_names().filter(|uri| is_sip_domain(uri)).collect();
        if !domains.is_empty() && !domains.iter().any(|uri| names(uri, server)) {
            return Err(CertificateError::NotValidForNameContext {
                expected: server.to_owned(),
                presented: domains.into_iter().map(str::to_owned).collect(),
            }
            .into());
        }
        if domains.is_empty() || !self.chosen {
            verify_server_name(certificate, server)?;
        }
        Ok(())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.authorities,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        self.check_name(end_entity, &certificate, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether a URI is a SIP domain (RFC 5922 §7.1): a `sip:` URI without a user. A `sips:` URI is none.
fn is_sip_domain(uri: &str) -> bool {
    let scheme = uri.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("sip")) && !uri.contains('@')
}

/// Whether a SIP domain is this server's name: whole and without letter case, a wildcard is none (RFC
/// 5922 §7.2).
fn names(uri: &str, server: &ServerName<'_>) -> bool {
    match (Uri::parse(uri.as_bytes()).map(|uri| uri.host), server) {
        (Some(Host::Name(name)), ServerName::DnsName(server)) => {
            let server = server.as_ref().as_bytes();
            name.eq_ignore_ascii_case(server.strip_suffix(b".").unwrap_or(server))
        }
        (Some(Host::Address(ip)), ServerName::IpAddress(server)) => ip == IpAddr::from(*server),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
    use std::time::Duration;

    #[test]
    fn a_domain_is_a_sip_uri_without_a_user() {
        for uri in
            ["sip:carrier.example", "SIP:x:5061;transport=tls", "sip:[2001:db8::1]", "sip:*.x"]
        {
            assert!(is_sip_domain(uri), "{uri}");
        }
        for uri in [
            "sips:carrier.example",
            "sip:alice@carrier.example",
            "sip:@carrier.example",
            "sip:carrier.example;x=a@b",
            "https://carrier.example/",
            "urn:uuid:f81d4fae",
            "sip",
            "",
        ] {
            assert!(!is_sip_domain(uri), "{uri}");
        }
    }

    #[test]
    fn names_are_compared_whole() {
        let named = |uri, name: &'static str| names(uri, &ServerName::try_from(name).unwrap());
        assert!(named("SIP:Carrier.example", "carrier.EXAMPLE"));
        assert!(named("sip:carrier.example:5061;transport=tls", "carrier.example"));
        assert!(named("sip:carrier.example", "carrier.example."));
        assert!(named("sip:192.0.2.1", "192.0.2.1"));
        assert!(named("sip:[2001:db8:0::1]", "2001:db8::1"));
        assert!(!named("sip:example", "carrier.example"));
        assert!(!named("sip:carrier.example", "sbc.carrier.example"));
        assert!(!named("sip:*.example", "carrier.example"));
        assert!(!named("sip:192.0.2.1", "192.0.2.10"));
        assert!(!named("sip:carrier.example", "192.0.2.1"));
        assert!(!named("sip:", "carrier.example"));
    }

    /// Who is trusted by the whole system vouches for what he has looked at: no URIs.
    #[test]
    fn a_uri_alone_is_no_name_to_the_authorities_of_the_system() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        let sign = |names: &[&str]| {
            let san = |name: &&str| match name.contains(':') {
                true => SanType::URI((*name).try_into().unwrap()),
                false => SanType::DnsName((*name).try_into().unwrap()),
            };
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.subject_alt_names = names.iter().map(san).collect();
            params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().clone()
        };
        // the certificates of rcgen are good from 1975 on
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
        let believed = |chosen, shown: &[&str]| {
            let mut authorities = RootCertStore::empty();
            authorities.add(authority.clone()).unwrap();
            let provider = rustls::crypto::ring::default_provider();
            let verifier = Verifier::new(authorities, chosen, &provider);
            let name = ServerName::try_from("carrier.example").unwrap();
            verifier.verify_server_cert(&sign(shown), &[], &name, b"", now).is_ok()
        };
        for (shown, chosen, of_the_system) in [
            (&["sip:carrier.example"][..], true, false),
            (&["sip:carrier.example", "carrier.example"], true, true),
            (&["sip:carrier.example", "other.example"], true, false),
            (&["sip:other.example", "carrier.example"], false, false),
            (&["carrier.example"], true, true),
        ] {
            let is = (believed(true, shown), believed(false, shown));
            assert_eq!(is, (chosen, of_the_system), "{shown:?}");
        }
    }
}
