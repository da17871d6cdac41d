//! One leg of a connection as its socket knows it: the numbers of RFC 9293 and what was agreed on.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::libc;
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::sys;

/// `TCP_REPAIR` (tcp(7) does not have it; `linux/tcp.h` does).
const REPAIR_ON: i32 = 1;
/// Leaves without a window probe.
const REPAIR_OFF_NO_WP: i32 = -1;
const RECEIVE_QUEUE: i32 = 1;
const SEND_QUEUE: i32 = 2;

/// `TCP_ESTABLISHED` of `linux/tcp_states.h`.
const ESTABLISHED: u8 = 1;
/// Bits of `tcpi_options`.
const TIMESTAMPS: u8 = 1;
const SACK: u8 = 2;
const ECN: u8 = 8;

/// `struct tcp_info` of `linux/tcp.h`, as far as it is used.
const INFO_BYTES: usize = 148;

/// How a leg stands at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// SND.NXT of the stream: the number of the next byte written to the socket.
    pub next_send: u32,
    /// SND.UNA.
    pub first_unacknowledged: u32,
    /// RCV.NXT.
    pub next_receive: u32,
    /// The number that the first byte received had.
    pub first_receive: u32,
    pub agreed: Agreed,
}

/// What the handshake of a leg agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// No FIN has been sent or received.
    pub is_open: bool,
    pub timestamps: bool,
    pub sack: bool,
    pub ecn: bool,
    /// Window shift of the peer and of ourselves (RFC 7323 section 2).
    pub peer_scale: u8,
    pub our_scale: u8,
    /// The largest segment we may send, in bytes of payload.
    pub send_mss: u32,
    /// The largest packet that goes to the peer, in bytes.
    pub path_mtu: u32,
    /// The largest segment we told the peer to send.
    pub announced_mss: u32,
}

impl Agreed {
    /// # Errors
    ///
    /// The socket is not a TCP socket any more.
    pub fn of(socket: &TcpStream) -> io::Result<Self> {
        Ok(Self::parse(&sys::tcp_option(socket, libc::TCP_INFO)?))
    }

    fn parse(info: &[u8; INFO_BYTES]) -> Self {
        Self {
            is_open: info[0] == ESTABLISHED,
            timestamps: info[5] & TIMESTAMPS != 0,
            sack: info[5] & SACK != 0,
            ecn: info[5] & ECN != 0,
            peer_scale: info[6] & 15,
            our_scale: info[6] >> 4,
            send_mss: word(info, 16),
            path_mtu: word(info, 60),
            announced_mss: word(info, 84),
        }
    }
}

/// How long nothing has come from the peer, not even an acknowledgment.
///
/// # Errors
///
/// The socket is not a TCP socket any more.
pub fn silence(socket: &impl AsFd) -> io::Result<Duration> {
    let info: [u8; INFO_BYTES] = sys::tcp_option(socket, libc::TCP_INFO)?;
    // `tcpi_last_data_recv` and `tcpi_last_ack_recv`, in milliseconds.
    let silence = word(&info, 52).min(word(&info, 56));
    Ok(Duration::from_millis(silence.into()))
}

impl Leg {
    /// Reads all numbers of one moment; `taken` bytes have been read from the socket so far, and
    /// nobody writes to it meanwhile.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_NET_ADMIN`, or the connection is gone.
    pub fn read(socket: &TcpStream, taken: usize) -> io::Result<Self> {
        sys::set_tcp_option(socket, libc::TCP_REPAIR, REPAIR_ON)?;
        let leg = Self::read_in_repair(socket, taken);
        sys::set_tcp_option(socket, libc::TCP_REPAIR, REPAIR_OFF_NO_WP)?;
        // Leaving took this from the socket, and without it nobody can listen on its address again
        // while it lingers.
        SockRef::from(socket).set_reuse_address(true)?;
        leg
    }

    fn read_in_repair(socket: &TcpStream, taken: usize) -> io::Result<Self> {
        sys::set_tcp_option(socket, libc::TCP_REPAIR_QUEUE, SEND_QUEUE)?;
        let next_send = queue_sequence(socket)?;
        sys::set_tcp_option(socket, libc::TCP_REPAIR_QUEUE, RECEIVE_QUEUE)?;
        let mut next_receive = queue_sequence(socket)?;
        loop {
            let info = sys::tcp_option::<INFO_BYTES>(socket, libc::TCP_INFO)?;
            // `tcpi_bytes_received`, of which sequence space has the low 32 bits.
            let received = word(&info, 128);
            // What is taken had been received before: if there is no more, then there was none when
            // the number was read, and both are of the same moment.
            if received as usize != taken {
                let before = std::mem::replace(&mut next_receive, queue_sequence(socket)?);
                if before != next_receive {
                    // A segment arrived in between.
                    continue;
                }
            }
            let unacknowledged = if is_all_acknowledged(&info) {
                0
            } else {
                sys::unacknowledged(socket)?
            };
            return Ok(Self {
                next_send,
                first_unacknowledged: next_send.wrapping_sub(unacknowledged),
                next_receive,
                first_receive: next_receive.wrapping_sub(received),
                agreed: Agreed::parse(&info),
            });
        }
    }
}

/// Whether no segment is on its way, and nothing waits to be sent.
fn is_all_acknowledged(info: &[u8; INFO_BYTES]) -> bool {
    // `tcpi_unacked` and `tcpi_notsent_bytes`.
    word(info, 24) == 0 && word(info, 144) == 0
}

/// Whether the peer has not acknowledged all that was written to a socket, a FIN included.
///
/// # Errors
///
/// It is not a TCP socket.
pub fn has_unacknowledged(socket: &TcpStream) -> io::Result<bool> {
    Ok(sys::unacknowledged(socket)? != 0)
}

/// Closes a socket without a word to its peer.
///
/// # Errors
///
/// The socket could not be silenced, and has said goodbye.
pub fn vanish(socket: TcpStream) -> io::Result<()> {
    let silenced = sys::set_tcp_option(&socket, libc::TCP_REPAIR, REPAIR_ON);
    drop(socket);
    silenced
}

/// Of the queue that was chosen.
fn queue_sequence(socket: &impl AsFd) -> io::Result<u32> {
    let sequence = sys::tcp_option(socket, libc::TCP_QUEUE_SEQ)?;
    Ok(u32::from_ne_bytes(sequence))
}

fn word(info: &[u8; INFO_BYTES], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&info[at..at + 4]);
    u32::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::Leg;

    /// The numbers of both ends, the first of which has written 5 bytes, and of which the second has
    /// read `taken`; nothing where this takes a right that the test has not.
    async fn legs_after(taken: usize) -> Option<[Leg; 2]> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut ours, (mut theirs, _)) = (ours.unwrap(), theirs.unwrap());
        ours.write_all(b"bytes").await.unwrap();
        theirs.readable().await.unwrap();
        theirs.read_exact(&mut vec![0; taken]).await.unwrap();
        let read = |socket, taken| match Leg::read(socket, taken) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            leg => Some(leg.unwrap()),
        };
        Some([read(&ours, 0)?, read(&theirs, taken)?])
    }

    #[tokio::test]
    async fn both_ends_agree_on_the_numbers_whatever_has_been_read() {
        for taken in [0, 3, 5] {
            let Some([ours, theirs]) = legs_after(taken).await else {
                // Not without CAP_NET_ADMIN.
                return;
            };

            assert_eq!(ours.next_send, theirs.next_receive, "{taken} read");
            assert_eq!(ours.next_send, theirs.first_receive.wrapping_add(5));
            assert_eq!(theirs.next_send, ours.first_receive);
            assert_eq!(theirs.first_unacknowledged, ours.next_receive);
        }
    }
}
