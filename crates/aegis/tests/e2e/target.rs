//! A service of our own that is scraped: the test says what its page shows.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

type Page = Box<dyn FnMut() -> String + Send>;

/// Answers every request with its page until dropped.
pub struct Target {
    pub address: String,
    /// How many connections it took so far.
    pub connections: Arc<AtomicUsize>,
    page: Arc<Mutex<Page>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Target {
    /// Shows what `page` gives, asked anew for every `GET /metrics`; any other path is answered with 200.
    pub fn new(page: impl FnMut() -> String + Send + 'static) -> Self {
        let page: Arc<Mutex<Page>> = Arc::new(Mutex::new(Box::new(page)));
        let shown = Arc::clone(&page);
        Self::accepting(page, move |stream| {
            let shown = Arc::clone(&shown);
            thread::spawn(move || answer(stream, &shown));
        })
    }

    /// Takes every connection and never says a word.
    pub fn silent() -> Self {
        let mut held = Vec::new();
        Self::accepting(Arc::new(Mutex::new(Box::new(String::new))), move |stream| held.push(stream))
    }

    fn accepting(page: Arc<Mutex<Page>>, mut take: impl FnMut(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, taken) = (Arc::clone(&is_over), Arc::new(AtomicUsize::new(0)));
        let connections = Arc::clone(&taken);
        let thread = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Acquire) {
                    return;
                }
                taken.fetch_add(1, Ordering::AcqRel);
                take(stream);
            }
        });
        Self { address, connections, page, is_over, thread: Some(thread) }
    }

    /// A page that never changes.
    pub fn fixed(text: &str) -> Self {
        let text = text.to_owned();
        Self::new(move || text.clone())
    }

    /// From now on it shows this.
    pub fn show(&self, text: &str) {
        let text = text.to_owned();
        *self.page.lock().unwrap() = Box::new(move || text.clone());
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes the thread, which then lets go of the port.
        let _ = TcpStream::connect(&self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(stream: TcpStream, page: &Mutex<Page>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut line = String::new();
    while reader.read_line(&mut line).ok()? > 2 {
        line.clear();
    }
    let body = if first.contains(" /metrics") { (page.lock().ok()?)() } else { "ok\n".to_owned() };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
    let mut stream = stream;
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).ok()
}
