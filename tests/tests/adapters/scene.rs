//! A situation, and how a run of it is judged.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use wspulse_core::heartbeat::{Evidence, HeartbeatConfig};
use wspulse_core::{Config, Role};
use wspulse_tests::kit::ping;
use wspulse_tests::net::{Control, Job, Manner, Outcome, Script, Stage, Subject, Tls};

use crate::scenes::is_alive_and_pinged;

/// A situation.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) manner: Manner,
    pub(crate) script: Script,
    pub(crate) evidence: Evidence,
    pub(crate) window: Duration,
    pub(crate) receive_buffer: Option<usize>,
    /// Returns what is worth printing, or what is wrong.
    pub(crate) check: fn(&Outcome) -> Result<String, String>,
}

impl Scene {
    /// The scene for an adapter: where an application cannot block the thread that runs the
    /// connection, there is no pause to notice.
    pub(crate) fn of(&self, subject: &dyn Subject) -> Self {
        let mut scene = self.clone();
        if matches!(scene.script, Script::Block { .. }) && !subject.can_be_blocked() {
            scene.check = is_alive_and_pinged;
        }
        scene
    }

    pub(crate) fn stage(
        &self,
        subject: &'static dyn Subject,
        role: Role,
        tls: Option<Tls>,
    ) -> Stage {
        let config = Config::builder()
            .heartbeat(heartbeat().evidence(self.evidence))
            .build();
        Stage {
            subject,
            role,
            job: Job {
                config: Arc::new(config.expect("valid")),
                tls,
                script: self.script.clone(),
                window: self.window,
            },
            manner: self.manner,
            receive_buffer: self.receive_buffer,
        }
    }
}

/// Ping after 1 s, dead 1 s after an unanswered ping. Without jitter, so that the situations meet
/// the pings where they hurt. What stands before a ping may take its time: megabytes do.
pub(crate) fn heartbeat() -> HeartbeatConfig {
    ping(1_000, 1_000).write_stall_timeout(Duration::from_secs(30))
}

/// Judges runs, and remembers their figures.
#[derive(Debug)]
pub(crate) struct Hearing {
    control: &'static Control,
    figures: Mutex<Vec<String>>,
}

/// Runs of one scene before a machine is given up that is late each time.
const ATTEMPTS: u32 = 3;

/// A machine that wakes a sleeping thread this late cannot tell whether an adapter keeps bounds of
/// 250 ms, nor whether a peer of 50 ms answered in time.
const TOO_LATE: Duration = Duration::from_millis(150);

impl Hearing {
    pub(crate) fn new(control: &'static Control) -> Self {
        Self {
            control,
            figures: Mutex::default(),
        }
    }

    /// Plays the scene and checks the outcome.
    ///
    /// Bounds are never widened. A run that fails counts, unless the control was woken too late
    /// in the same time: then the run is void and repeated, and if that goes on the test fails,
    /// with both figures.
    pub(crate) fn judge(&self, name: &str, scene: &Scene, stage: &Stage) -> Result<(), String> {
        let mut attempt = 1;
        loop {
            let outcome = stage.play()?;
            let late = self.control.worst_lateness(outcome.began, outcome.ended);
            let late = format_args!("control at most {} ms late", late.as_millis()).to_string();
            let is_void = self.control.worst_lateness(outcome.began, outcome.ended) > TOO_LATE;
            match (scene.check)(&outcome) {
                Ok(figure) => {
                    self.note(format!("{name}: {figure}; {late}"));
                    return Ok(());
                }
                Err(error) if is_void && attempt < ATTEMPTS => {
                    self.note(format!("{name}: void: {error}; {late}"));
                    attempt += 1;
                }
                Err(error) => return Err(format!("{error}; {late}, attempt {attempt}")),
            }
        }
    }

    fn note(&self, line: String) {
        self.figures.lock().expect("no panic").push(line);
    }

    /// Prints the figures, in the order of their names.
    pub(crate) fn print(&self) {
        let mut figures = self.figures.lock().expect("no panic");
        figures.sort();
        figures.iter().for_each(|line| println!("{line}"));
    }
}
