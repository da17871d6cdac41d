//! Both ends of spliced connections in the hands of a test.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::bed::{Bed, Family};
use crate::broker::{self, Broker};
use crate::client::Client;
use crate::daemon::Daemon;
use crate::namespace::Place;
use crate::setup::Setup;
use crate::shape::Shape;
use crate::wait::PATIENCE;
use crate::wire::{Connect, Version};

/// A bed with a broker that accepts every client and leaves the rest to the test.
#[derive(Debug)]
pub struct Ends {
    pub bed: Bed,
    pub daemon: Daemon,
    accepted: Mutex<Receiver<TcpStream>>,
    _broker: Broker,
}

impl Ends {
    /// # Errors
    ///
    /// A reason to skip.
    pub fn new(family: Family) -> Result<Self, String> {
        Self::with(family, |setup| setup)
    }

    /// The same with a balancer that is set up otherwise.
    ///
    /// # Errors
    ///
    /// A reason to skip.
    pub fn with(family: Family, change: impl FnOnce(Setup) -> Setup) -> Result<Self, String> {
        let mut bed = Bed::new(family)?;
        bed.setup = change(bed.setup);
        Ok(Self::on(bed))
    }

    /// The same with ends on the balancer's host.
    ///
    /// # Errors
    ///
    /// A reason to skip.
    pub fn at(place: Place, family: Family) -> Result<Self, String> {
        Ok(Self::on(Bed::at(place, family)?))
    }

    fn on(bed: Bed) -> Self {
        let (accept, accepted) = channel();
        let listener = bed
            .topology
            .broker
            .run(|| Shape::default().listen(bed.broker));
        let broker = Broker::start_on(listener, move |mut stream| {
            broker::accept(&mut stream);
            // A test that has ended wants no more of them.
            accept.send(stream).unwrap_or_default();
        });
        Self {
            daemon: bed.start(),
            bed,
            accepted: Mutex::new(accepted),
            _broker: broker,
        }
    }

    /// Opens a connection that is the only one, and waits until the kernel has it.
    pub fn open(&self) -> (Client, TcpStream) {
        self.introduce(Shape::default(), &Connect::new(Version::V5, "only"))
    }

    /// The same with a socket and a CONNECT of the test's choice.
    pub fn introduce(&self, shape: Shape, connect: &Connect) -> (Client, TcpStream) {
        let client = self.bed.introduce(shape, connect);
        let broker = self.accepted();
        self.bed.until_spliced(1);
        (client, broker)
    }

    /// The broker's end of the next connection it has accepted.
    pub fn accepted(&self) -> TcpStream {
        let accepted = self.accepted.lock().expect("no test has panicked with it");
        accepted
            .recv_timeout(PATIENCE)
            .expect("the broker is asked")
    }
}

/// Something goes from one end to the other.
pub fn pass(mut from: &TcpStream, mut to: &TcpStream, word: &[u8]) {
    let mut heard = vec![0; word.len()];
    thread::scope(|scope| {
        scope.spawn(move || from.write_all(word).expect("it is open"));
        to.read_exact(&mut heard).expect("it comes");
    });
    assert!(heard == word, "something else comes");
}

/// Something goes there and something else back.
pub fn talk(client: &Client, broker: &TcpStream) {
    pass(&client.0, broker, b"there");
    pass(broker, &client.0, b"and back");
}

/// The connection has been reset, or is reset soon.
pub fn expect_reset(mut stream: &TcpStream) {
    let mut more = [0; 64];
    loop {
        match stream.read(&mut more) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => panic!("no reset comes: {other:?}"),
        }
    }
}
