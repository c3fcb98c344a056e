//! Serves one page to a browser.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The server; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Page {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Page {
    /// Serves this file of `peers/`, whatever is asked for.
    pub(crate) async fn serve(file: &str) -> io::Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("peers")
            .join(file);
        let page = fs::read(path)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let page = page.clone();
                // A browser opens connections that it may never use.
                tokio::spawn(timeout(Duration::from_secs(10), answer(stream, page)));
            }
        });
        Ok(Self { address, server })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(mut stream: TcpStream, page: Vec<u8>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > 16 << 10 || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        page.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.write_all(&page).await?;
    stream.shutdown().await
}
