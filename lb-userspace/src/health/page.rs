//! The little HTTP/1.1 of a check: one GET, one answer (RFC 9112).

use std::fmt::Write as _;

/// The most of an answer that is read, in bytes.
pub(super) const LIMIT: usize = 64 * 1024;

/// GET, with what the server needs to know.
pub(super) fn request(host: &str, path: &str, login: Option<(&str, &[u8])>) -> String {
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: sluice\r\nAccept: */*\r\nConnection: close\r\n"
    );
    if let Some((user_name, password)) = login {
        // RFC 7617.
        let pair = [user_name.as_bytes(), b":", password].concat();
        request.push_str("Authorization: Basic ");
        request.push_str(&base64(&pair));
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request
}

/// What an answer is known to be so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    pub status: u16,
    body: &'a [u8],
    /// How long the body is, where that was said.
    length: Option<usize>,
    is_chunked: bool,
}

/// Reads an answer as far as it has come; `None` while its head is not whole.
///
/// # Errors
///
/// It is not HTTP/1.
pub(super) fn answer(bytes: &[u8]) -> Result<Option<Answer<'_>>, NotHttp> {
    const BEGIN: &[u8] = b"HTTP/1.";
    let begin = bytes.len().min(BEGIN.len());
    if bytes[..begin] != BEGIN[..begin] {
        return Err(NotHttp);
    }
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = str::from_utf8(&bytes[..end]).unwrap_or_default();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|code| code.parse().ok()).ok_or(NotHttp)?;
    let field = |name: &str| {
        let named = |line: &'_ &str| {
            let (key, _) = line.split_once(':').unwrap_or_default();
            key.eq_ignore_ascii_case(name)
        };
        let line = head.split("\r\n").skip(1).find(named)?;
        Some(line.split_once(':')?.1.trim())
    };
    Ok(Some(Answer {
        status,
        body: &bytes[end + 4..],
        length: field("content-length").and_then(|length| length.parse().ok()),
        is_chunked: field("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")),
    }))
}

/// Something else than HTTP/1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotHttp;

impl Answer<'_> {
    /// Whether nothing more belongs to it.
    pub(super) fn is_whole(&self) -> bool {
        if self.is_chunked {
            return self.chunks().1;
        }
        self.length.is_some_and(|length| self.body.len() >= length)
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        if self.is_chunked {
            return find(&self.chunks().0, text.as_bytes()).is_some();
        }
        let length = self.length.unwrap_or(usize::MAX).min(self.body.len());
        find(&self.body[..length], text.as_bytes()).is_some()
    }

    /// The body without its chunks, and whether the last of them was there.
    fn chunks(&self) -> (Vec<u8>, bool) {
        let mut plain = Vec::new();
        let mut rest = self.body;
        while let Some(end) = find(rest, b"\r\n") {
            let size = str::from_utf8(&rest[..end]).unwrap_or_default();
            let size = size.split(';').next().unwrap_or_default().trim();
            match usize::from_str_radix(size, 16) {
                Ok(0) => return (plain, true),
                Ok(size) => {
                    let data = &rest[end + 2..];
                    plain.extend_from_slice(&data[..size.min(data.len())]);
                    let after = size.saturating_add(2).min(data.len());
                    rest = &data[after..];
                }
                Err(_) => break,
            }
        }
        (plain, false)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    if wanted.is_empty() {
        return Some(0);
    }
    bytes
        .windows(wanted.len())
        .position(|these| these == wanted)
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |n: usize| u32::from(three.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * n) & 63) as usize];
            let digit = if n > three.len() { b'=' } else { digit };
            // Writing to a string cannot fail.
            text.write_char(char::from(digit)).ok();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{NotHttp, answer, base64, request};

    #[test]
    fn writes_base64() {
        // RFC 4648, section 10.
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    #[test]
    fn asks_for_a_page() {
        let plain = request("10.0.0.1:80", "/health", None);
        assert!(plain.starts_with("GET /health HTTP/1.1\r\nHost: 10.0.0.1:80\r\n"));
        assert!(plain.ends_with("\r\n\r\n") && !plain.contains("Authorization"));

        let known = request("a", "/", Some(("Aladdin", b"open sesame")));
        // RFC 7617, section 2.
        assert!(known.contains("\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"));
    }

    #[test]
    fn reads_an_answer_as_it_comes() {
        let text = b"HTTP/1.1 200 OK\r\nX: 1\r\ncontent-LENGTH: 5\r\n\r\nready and more";
        for cut in 0..43 {
            assert_eq!(answer(&text[..cut]), Ok(None), "{cut}");
        }
        let head = answer(&text[..44]).unwrap().unwrap();
        assert_eq!(head.status, 200);
        assert!(!head.is_whole() && !head.contains("ready"));
        let whole = answer(text).unwrap().unwrap();
        assert!(whole.is_whole() && whole.contains("ready") && !whole.contains("more"));
    }

    #[test]
    fn puts_chunks_together() {
        let text =
            b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nrea\r\n2\r\ndy\r\n";
        let half = answer(text).unwrap().unwrap();
        assert_eq!(half.status, 503);
        assert!(half.contains("ready") && !half.is_whole());
        let text = [&text[..], b"0\r\n\r\n"].concat();
        assert!(answer(&text).unwrap().unwrap().is_whole());
    }

    #[test]
    fn knows_what_is_not_http() {
        for text in [
            "SSH-2.0-x\r\n",
            "HTTP/2",
            "HTTP/1.1 abc\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert_eq!(answer(text.as_bytes()), Err(NotHttp), "{text}");
        }
    }

    proptest! {
        #[test]
        fn survives_anything(text in "(HTTP/1.1 200 OK\r\n)?(Content-Length: [0-9]{0,25}\r\n)?(Transfer-Encoding: chunked\r\n)?(\r\n)?([0-9a-f]{0,20}\r\n[a-z]{0,9}){0,4}") {
            if let Ok(Some(answer)) = answer(text.as_bytes()) {
                prop_assert!(answer.contains("") || answer.is_chunked);
                answer.is_whole();
            }
        }
    }
}
