//! One check of one backend.

use std::fs;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time;

use super::page;
use crate::config::Health;
use crate::config::health::{Check, Credentials, HttpCheck, MqttCheck};
use crate::dial;
use crate::mqtt::connack::{self, First};
use crate::mqtt::greeting::{DISCONNECT, Greeting};
use crate::mqtt::not_me::NotMe;
use crate::proxy;
use crate::upstream::vitals::Finding;

/// The longest CONNACK that is read, in bytes.
const CONNACK_BYTES: usize = 64 * 1024;
/// The longest password, in bytes, as MQTT has it.
const PASSWORD_BYTES: u64 = 65535;
/// Room made for each read.
const READ_BYTES: usize = 1024;

/// What a check found wrong.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    #[error("could not connect: {0}")]
    Unreachable(io::Error),
    #[error("no answer in time")]
    Silent,
    #[error("closed without an answer")]
    Closed,
    #[error("lost before it answered: {0}")]
    Lost(io::Error),
    #[error("answered with something else than {0}")]
    Garbled(&'static str),
    #[error("refused the check: {}", .0.label())]
    NotMe(NotMe),
    #[error("refused the check with code {0:#04x}")]
    Code(u8),
    #[error("answered with status {0}")]
    Status(u16),
    #[error("its page lacks the text that was asked for")]
    Body,
    #[error("the page is not there ({0}), but the broker is")]
    PageOnly(Box<Self>),
    #[error("could not be checked for want of something of this host: {0}")]
    Local(io::Error),
    #[error("could not be checked: {path}: {error}")]
    Password { path: PathBuf, error: io::Error },
}

impl Trouble {
    /// What it says about the backend; nothing where the trouble is ours.
    pub(super) fn finding(&self) -> Option<Finding> {
        match self {
            Self::Unreachable(_) | Self::Silent | Self::Closed | Self::Lost(_) => {
                Some(Finding::Dead)
            }
            Self::Garbled(_)
            | Self::NotMe(_)
            | Self::Code(_)
            | Self::Status(_)
            | Self::Body
            | Self::PageOnly(_) => Some(Finding::Refused),
            Self::Local(_) | Self::Password { .. } => None,
        }
    }
}

/// Asks what is configured, within the time for it. `own_id` is for those who have no other.
pub(super) async fn ask(broker: SocketAddr, health: &Health, own_id: &str) -> Result<(), Trouble> {
    let answered = async {
        match &health.check {
            Check::None => Ok(()),
            Check::Tcp => dialled(broker, health).await.map(drop),
            Check::Mqtt(check) => mqtt(dialled(broker, health).await?, check, own_id).await,
            Check::Http(check) => {
                let address = SocketAddr::new(broker.ip(), check.port.get());
                http(dialled(address, health).await?, address, check).await
            }
        }
    };
    let answered = time::timeout(health.rhythm.timeout, answered).await;
    let trouble = match answered.unwrap_or(Err(Trouble::Silent)) {
        Ok(()) => return Ok(()),
        Err(trouble) => trouble,
    };
    // A page that is gone does not tell whether the connections to the broker are.
    if matches!(health.check, Check::Http(_))
        && trouble.finding() == Some(Finding::Dead)
        && dialled(broker, health).await.is_ok()
    {
        return Err(Trouble::PageOnly(Box::new(trouble)));
    }
    Err(trouble)
}

async fn dialled(address: SocketAddr, health: &Health) -> Result<TcpStream, Trouble> {
    match dial::dial(address.into(), health.rhythm.timeout, None).await {
        Ok(dialled) => Ok(dialled.stream),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Trouble::Silent),
        Err(error) if dial::is_local(&error) => Err(Trouble::Local(error)),
        Err(error) => Err(Trouble::Unreachable(error)),
    }
}

async fn mqtt(mut broker: TcpStream, check: &MqttCheck, own_id: &str) -> Result<(), Trouble> {
    let (user_name, password) = login(check.credentials.as_ref())?.unzip();
    let connect = Greeting {
        version: check.version,
        client_id: check.client_id.as_deref().unwrap_or(own_id),
        user_name,
        password: password.as_ref().and_then(Option::as_deref),
    }
    .connect();
    let ends = [broker.local_addr(), broker.peer_addr()].map(|end| end.map_err(Trouble::Lost));
    let [own, its] = ends;
    let header = proxy::header(check.proxy_protocol, [own?, its?]);
    let said = [header, connect].concat();
    broker.write_all(&said).await.map_err(Trouble::Lost)?;
    let mut received = BytesMut::new();
    let first = loop {
        read(&mut broker, &mut received).await?;
        match connack::decode(check.version, &received, CONNACK_BYTES) {
            Ok(Some(first)) => break first,
            Ok(None) => {}
            Err(_) => return Err(Trouble::Garbled("a CONNACK")),
        }
    };
    let First::Connack(connack) = first else {
        return Err(Trouble::Garbled("a CONNACK"));
    };
    if connack.is_accepted() {
        // It has answered; how it takes the goodbye does not matter.
        if broker.write_all(&DISCONNECT).await.is_ok() {
            broker.shutdown().await.ok();
        }
        return Ok(());
    }
    match NotMe::of(check.version, &connack) {
        Some(not_me) => Err(Trouble::NotMe(not_me)),
        // Without a name to ask with, an answer is what can be expected.
        None if check.credentials.is_none() => Ok(()),
        None => Err(Trouble::Code(connack.code)),
    }
}

async fn http(
    mut server: TcpStream,
    address: SocketAddr,
    check: &HttpCheck,
) -> Result<(), Trouble> {
    let login = login(check.credentials.as_ref())?;
    let login = login
        .as_ref()
        .map(|(user_name, password)| (*user_name, password.as_deref().unwrap_or_default()));
    let request = page::request(&address.to_string(), &check.path, login);
    server
        .write_all(request.as_bytes())
        .await
        .map_err(Trouble::Lost)?;
    let mut received = BytesMut::new();
    loop {
        let ended = read(&mut server, &mut received).await;
        let is_last = ended.is_err() || received.len() >= page::LIMIT;
        let answer = page::answer(&received).map_err(|page::NotHttp| Trouble::Garbled("HTTP"))?;
        match (answer, &check.body) {
            (Some(answer), _) if !check.status.contains(&answer.status) => {
                return Err(Trouble::Status(answer.status));
            }
            (Some(_), None) => return Ok(()),
            (Some(answer), Some(text)) if answer.contains(text) => return Ok(()),
            (Some(answer), Some(_)) if is_last || answer.is_whole() => return Err(Trouble::Body),
            (None, _) if received.len() >= page::LIMIT => return Err(Trouble::Garbled("HTTP")),
            (None | Some(_), _) => ended?,
        }
    }
}

/// Reads what has come.
async fn read(from: &mut TcpStream, received: &mut BytesMut) -> Result<(), Trouble> {
    received.reserve(READ_BYTES);
    match from.read_buf(received).await {
        Ok(0) => Err(Trouble::Closed),
        Ok(_) => Ok(()),
        Err(error) => Err(Trouble::Lost(error)),
    }
}

type Login<'a> = (&'a str, Option<Vec<u8>>);

fn login(credentials: Option<&Credentials>) -> Result<Option<Login<'_>>, Trouble> {
    let Some(credentials) = credentials else {
        return Ok(None);
    };
    let password = credentials.password_file.as_deref().map(password);
    Ok(Some((&credentials.user_name, password.transpose()?)))
}

/// The bytes of a file without the line end that editors add.
fn password(path: &Path) -> Result<Vec<u8>, Trouble> {
    let read = || {
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("is not a file"));
        }
        let mut password = Vec::new();
        let mut file = fs::File::open(path)?.take(PASSWORD_BYTES);
        file.read_to_end(&mut password)?;
        let text = password.trim_ascii_end().len();
        let line = password[text..]
            .iter()
            .position(|byte| b"\r\n".contains(byte));
        password.truncate(line.map_or(password.len(), |line| text + line));
        Ok(password)
    };
    read().map_err(|error| Trouble::Password {
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::password;

    #[test]
    fn reads_a_password_without_its_line_end() {
        let directory = std::env::temp_dir();
        for (n, (written, expected)) in [
            ("secret", "secret"),
            ("secret\n", "secret"),
            ("two words \r\n", "two words "),
            ("", ""),
        ]
        .into_iter()
        .enumerate()
        {
            let path = directory.join(format!("sluice-password-{}-{n}", std::process::id()));
            std::fs::write(&path, written).unwrap();
            let read = password(&path);
            std::fs::remove_file(&path).unwrap();

            assert_eq!(read.unwrap(), expected.as_bytes());
        }
        assert!(password(&directory).is_err());
    }
}
