//! A task for each case.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wspulse_tokio::{Error, connect};

use crate::{Server, is_on_purpose, say_failed};

pub(crate) fn run(server: Server) -> Result<usize, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run_cases(Arc::new(server)))
}

async fn run_cases(server: Arc<Server>) -> Result<usize, Error> {
    let count = case_count(&server).await?;
    let places = Arc::new(Semaphore::new(server.parallel));
    let mut cases = JoinSet::new();
    for case in 1..=count {
        let place = Arc::clone(&places).acquire_owned().await;
        let server = Arc::clone(&server);
        cases.spawn(async move {
            if let Err(error) = run_case(&server, case).await {
                say_failed(case, &error);
            }
            drop(place);
        });
    }
    cases.join_all().await;
    let mut ws = connect(&server.report(), Arc::clone(&server.config)).await?;
    while let Some(message) = ws.next().await {
        message?;
    }
    Ok(count)
}

async fn case_count(server: &Server) -> Result<usize, Error> {
    let mut ws = connect(&server.count(), Arc::clone(&server.config)).await?;
    let mut count = 0;
    while let Some(message) = ws.next().await {
        if let Some(number) = message?.as_text().and_then(|text| text.parse().ok()) {
            count = number;
        }
    }
    Ok(count)
}

/// Echoes until the connection ends.
async fn run_case(server: &Server, case: usize) -> Result<(), Error> {
    let mut ws = connect(&server.case(case), Arc::clone(&server.config)).await?;
    while let Some(message) = ws.next().await {
        match message {
            Ok(message) => match ws.send(message).await {
                Ok(()) | Err(Error::Send(_)) => {}
                Err(error) => return Err(error),
            },
            Err(error) if is_on_purpose(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
