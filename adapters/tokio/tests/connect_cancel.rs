//! A way to a connection that is given up leaves nothing behind.
//!
//! Descriptors are the process's, so this test has it for itself.
#![cfg(target_os = "linux")]

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use wspulse_core::Config;
use wspulse_tokio::tls::client_config_from_pem;
use wspulse_tokio::{ConnectOptions, Proxy, connect, connect_through};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_connect_that_is_dropped_at_any_stage_leaves_no_descriptor_behind() {
    // All in one thread, which is done when `block_on` is.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let trusted = client_config_from_pem(params.self_signed(&key).unwrap().pem().as_bytes());
    let options = ConnectOptions::new(Config::default()).tls(trusted.unwrap());

    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = listener.local_addr().unwrap();
        let proxies =
            ["http", "socks5"].map(|scheme| Proxy::parse(&format!("{scheme}://{silent}")).unwrap());
        let before = descriptors();
        for round in 0..50 {
            // Far enough to connect, and no further: the server says nothing.
            let patience = Duration::from_millis(round % 5);
            for scheme in ["ws", "wss"] {
                let url = format!("{scheme}://{silent}/");
                let connecting = connect(&url, options.clone());
                assert!(tokio::time::timeout(patience, connecting).await.is_err());
                for proxy in &proxies {
                    let connecting = connect_through(proxy, &url, options.clone());
                    assert!(tokio::time::timeout(patience, connecting).await.is_err());
                }
            }
            assert_eq!(descriptors(), before, "after round {round}");
        }
        // The other side sees each of them end.
        let mut ended = 0;
        while let Ok(accepted) =
            tokio::time::timeout(Duration::from_millis(200), listener.accept()).await
        {
            let (mut stream, _) = accepted.unwrap();
            let mut buffer = Vec::new();
            let reading = stream.read_to_end(&mut buffer);
            let read = tokio::time::timeout(Duration::from_secs(5), reading).await;
            read.expect("the end of the stream").ok();
            ended += 1;
        }
        assert!(ended > 100, "{ended} connections came about");
    });
}
