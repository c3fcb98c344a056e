//! Everything that can be set, with the reason for each default.

use alloc::sync::Arc;
use core::time::Duration;

use bytestring::ByteString;

use crate::close::CloseCode;
use crate::error::ConfigError;
use crate::extension::deflate::DeflateConfig;
use crate::handshake::HandshakeLimits;
use crate::heartbeat::HeartbeatConfig;

/// A checked configuration; share one [`Arc`] of it among all connections.
///
/// ```
/// use core::time::Duration;
/// use wspulse_core::Config;
/// use wspulse_core::heartbeat::HeartbeatConfig;
///
/// let config = Config::builder()
///     .heartbeat(HeartbeatConfig::ping(Duration::from_secs(5), Duration::from_secs(10)))
///     .max_message_size(1 << 20)
///     .build()?;
/// # Ok::<(), wspulse_core::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) heartbeat: Arc<HeartbeatConfig>,
    pub(crate) application_heartbeat: Option<ApplicationHeartbeat>,
    /// Of requests, which a server reads.
    pub(crate) request_limits: HandshakeLimits,
    /// Of responses, which a client reads.
    pub(crate) response_limits: HandshakeLimits,
    /// Always `None` without the feature.
    pub(crate) deflate: Option<DeflateConfig>,
    pub(crate) max_frame_size: u64,
    pub(crate) max_message_size: u64,
    pub(crate) max_fragment_count: u64,
    pub(crate) max_buffered_amount: usize,
    pub(crate) max_outgoing_frame: usize,
    pub(crate) delivery: Delivery,
    pub(crate) report_control: bool,
    pub(crate) dead_close_code: CloseCode,
    pub(crate) handshake_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) linger: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_age: Duration,
    pub(crate) message_timeout: Duration,
}

impl Config {
    /// Starts from the defaults.
    #[must_use]
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// Returns the heartbeat's part.
    #[must_use]
    pub fn heartbeat(&self) -> &HeartbeatConfig {
        &self.heartbeat
    }

    /// Returns what is offered and agreed to about compressed messages; always `None` without the
    /// feature `deflate`. For a handshake that is done elsewhere: see
    #[cfg_attr(
        feature = "deflate",
        doc = "[`with_deflate`](crate::Connection::with_deflate)."
    )]
    #[cfg_attr(not(feature = "deflate"), doc = "`Connection::with_deflate`.")]
    #[must_use]
    pub const fn deflate(&self) -> Option<DeflateConfig> {
        self.deflate
    }

    /// Returns how long the closing handshake may take.
    #[must_use]
    pub const fn close_timeout(&self) -> Duration {
        self.close_timeout
    }

    /// Returns how long the opening handshake may take.
    #[must_use]
    pub const fn handshake_timeout(&self) -> Duration {
        self.handshake_timeout
    }

    /// Returns how many bytes may wait to be sent before no further message is taken.
    #[must_use]
    pub const fn max_buffered_amount(&self) -> usize {
        self.max_buffered_amount
    }

    /// Checks that something can pass each limit.
    fn check_sizes(&self) -> Result<(), ConfigError> {
        let size = |size| u64::try_from(size).unwrap_or(u64::MAX);
        let head = self.request_limits;
        for (setting, value, least) in [
            ("max_frame_size", self.max_frame_size, 1),
            ("max_message_size", self.max_message_size, 1),
            ("max_fragment_count", self.max_fragment_count, 1),
            ("max_buffered_amount", size(self.max_buffered_amount), 1),
            ("max_outgoing_frame", size(self.max_outgoing_frame), 1),
            ("max_head_size", size(head.max_head_size), LEAST_HEAD),
            (
                "max_header_count",
                size(head.max_header_count),
                LEAST_HEADERS,
            ),
        ] {
            if value < least {
                return Err(ConfigError::TooSmall { setting });
            }
        }
        Ok(())
    }

    /// Checks that no timeout is over when it begins, and that an end comes.
    fn check_times(&self) -> Result<(), ConfigError> {
        for (setting, value) in [
            ("handshake_timeout", self.handshake_timeout),
            ("close_timeout", self.close_timeout),
            ("idle_timeout", self.idle_timeout),
            ("max_age", self.max_age),
            ("message_timeout", self.message_timeout),
        ] {
            if value.is_zero() {
                return Err(ConfigError::TooSmall { setting });
            }
        }
        for (setting, value) in [
            ("close_timeout", self.close_timeout),
            ("linger", self.linger),
        ] {
            if value > LONGEST_END {
                return Err(ConfigError::TooLong { setting });
            }
        }
        Ok(())
    }

    /// Tells whether anything beyond the heartbeat watches the open connection's time.
    pub(crate) fn has_optional_timers(&self) -> bool {
        [self.idle_timeout, self.max_age, self.message_timeout] != [Duration::MAX; 3]
    }
}

impl Default for Config {
    fn default() -> Self {
        ConfigBuilder::default().config
    }
}

/// Sets the values of a [`Config`].
#[derive(Clone, Debug)]
pub struct ConfigBuilder {
    config: Config,
    heartbeat: HeartbeatConfig,
    max_frame_size: Option<u64>,
}

impl Default for ConfigBuilder {
    fn default() -> Self {
        Self {
            heartbeat: HeartbeatConfig::DEFAULT,
            max_frame_size: None,
            config: Config {
                heartbeat: Arc::new(HeartbeatConfig::DEFAULT),
                application_heartbeat: None,
                request_limits: HandshakeLimits::SERVER,
                response_limits: HandshakeLimits::CLIENT,
                deflate: None,
                max_frame_size: 18 << 20,
                max_message_size: 16 << 20,
                max_fragment_count: 1_024,
                max_buffered_amount: 1 << 20,
                max_outgoing_frame: 64 << 10,
                delivery: Delivery::Messages,
                report_control: false,
                dead_close_code: CloseCode::INTERNAL_ERROR,
                handshake_timeout: Duration::from_secs(10),
                close_timeout: Duration::from_secs(5),
                linger: Duration::from_millis(250),
                idle_timeout: Duration::MAX,
                max_age: Duration::MAX,
                message_timeout: Duration::MAX,
            },
        }
    }
}

impl ConfigBuilder {
    /// Sets when to ping and when to give up; [`HeartbeatConfig::DEFAULT`] by default.
    #[must_use]
    pub fn heartbeat(mut self, heartbeat: HeartbeatConfig) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// Adds a heartbeat of text messages, for peers that cannot ping; none by default.
    #[must_use]
    pub fn application_heartbeat(mut self, heartbeat: ApplicationHeartbeat) -> Self {
        self.config.application_heartbeat = Some(heartbeat);
        self
    }

    /// Sets the longest head of the peer's in the opening handshake, in bytes; by default 16 KiB for
    /// a request, twice what common servers allow, since cookies and tokens grow, and 64 KiB for a
    /// response ([`HandshakeLimits::CLIENT`]).
    #[must_use]
    pub fn max_head_size(mut self, bytes: usize) -> Self {
        self.config.request_limits.max_head_size = bytes;
        self.config.response_limits.max_head_size = bytes;
        self
    }

    /// Sets the most headers of the peer's in the opening handshake; by default 100 in a request
    /// and 256 in a response ([`HandshakeLimits::CLIENT`]).
    #[must_use]
    pub fn max_header_count(mut self, count: usize) -> Self {
        self.config.request_limits.max_header_count = count;
        self.config.response_limits.max_header_count = count;
        self
    }

    /// Offers compressed messages as a client, and agrees to them as a server where they are offered
    /// (permessage-deflate, RFC 7692); `None`, the default, neither offers nor agrees. They cost
    /// time and [memory](DeflateConfig#memory), and can give
    /// [secrets away](crate::extension::deflate#what-compression-gives-away).
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflate(mut self, deflate: Option<DeflateConfig>) -> Self {
        self.config.deflate = deflate;
        self
    }

    /// Sets the longest frame payload taken, in bytes on the wire. By default it follows the limit of
    /// messages ([`max_message_size`](Self::max_message_size)), since a message may be one frame: 16
    /// MiB, or an eighth more than a message where that is longer, for a compressed message may be
    /// longer than what it inflates to. A longer one is refused from its header with 1009.
    #[must_use]
    pub fn max_frame_size(mut self, bytes: u64) -> Self {
        self.max_frame_size = Some(bytes);
        self
    }

    /// Sets the longest message taken, in bytes; 16 MiB by default. A longer one is refused with
    /// 1009 from the frame header that would pass the limit; a compressed one at the first byte
    /// beyond it, as it is inflated.
    #[must_use]
    pub fn max_message_size(mut self, bytes: u64) -> Self {
        self.config.max_message_size = bytes;
        self
    }

    /// Sets how many fragments a message may have beyond one for each 64 bytes received; 1,024 by
    /// default. Fragments are joined as they arrive and hold nothing; the limit is against streams
    /// of empty and very short ones. With [`Delivery::Parts`] only empty ones count: short ones are
    /// what parts are for.
    #[must_use]
    pub fn max_fragment_count(mut self, count: u64) -> Self {
        self.config.max_fragment_count = count;
        self
    }

    /// Sets how many bytes may wait to be sent before [`send`](crate::Connection::send) gives the
    /// message back; 1 MiB by default. A message is taken while less than that waits, whatever
    /// its own length; one that waits counts some bytes more than its payload
    /// ([`queue_cost`](crate::Connection::queue_cost)), or short ones would be free.
    #[must_use]
    pub fn max_buffered_amount(mut self, bytes: usize) -> Self {
        self.config.max_buffered_amount = bytes;
        self
    }

    /// Sets the longest frame sent; longer messages leave in several, so that a control frame
    /// waits for no more than was committed: one of them, or as many as the transport takes at
    /// once. 64 KiB by default, `None` turns splitting off.
    #[must_use]
    pub fn max_outgoing_frame(mut self, bytes: Option<usize>) -> Self {
        self.config.max_outgoing_frame = bytes.unwrap_or(usize::MAX);
        self
    }

    /// Sets whether messages are delivered whole, the default, or in parts as they arrive.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.config.delivery = delivery;
        self
    }

    /// Sets whether the peer's pings and unsolicited pongs are reported as events; not by default.
    #[must_use]
    pub fn report_control(mut self, report: bool) -> Self {
        self.config.report_control = report;
        self
    }

    /// Sets the code of the Close frame that a dead peer is sent, best effort; 1011 by default.
    #[must_use]
    pub fn dead_close_code(mut self, code: CloseCode) -> Self {
        self.config.dead_close_code = code;
        self
    }

    /// Sets how long the opening handshake may take, from the creation of the connection; 10 s by
    /// default. No traffic extends it, and a server's own time to accept or reject is part of it.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.config.handshake_timeout = timeout;
        self
    }

    /// Sets how long the closing handshake may take, at most a day; 5 s by default. No traffic extends
    /// it.
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.config.close_timeout = timeout;
        self
    }

    /// Sets how long the Close frame for a dead peer may wait for a blocked transport; 250 ms by
    /// default, at most a day. At zero, only a write within the same instant carries it.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.config.linger = linger;
        self
    }

    /// Sets after how long without a message in either direction the connection is closed with
    /// 1001; never by default. Pings do not count: being alive is not being used.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.idle_timeout = timeout;
        self
    }

    /// Sets after how long a connection is closed with 1001 whatever it does, up to a tenth
    /// earlier at random; never by default.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.config.max_age = age;
        self
    }

    /// Sets how long one incoming message may take from its first byte to its last; never by
    /// default. The guard against peers that trickle.
    #[must_use]
    pub fn message_timeout(mut self, timeout: Duration) -> Self {
        self.config.message_timeout = timeout;
        self
    }

    /// Checks the values and makes the configuration.
    ///
    /// # Errors
    /// [`ConfigError`] names the value that cannot work.
    pub fn build(mut self) -> Result<Config, ConfigError> {
        self.heartbeat.validate()?;
        self.config.max_frame_size = self.max_frame_size.unwrap_or_else(|| {
            let message = self.config.max_message_size;
            message.saturating_add(message >> 3).max(MIN_FRAME_LIMIT)
        });
        let config = &self.config;
        if let Some(deflate) = &config.deflate {
            deflate.validate()?;
        }
        config.check_sizes()?;
        if !config.dead_close_code.is_sendable() {
            return Err(ConfigError::CloseCode);
        }
        if let Some(heartbeat) = &config.application_heartbeat {
            let lengths = [heartbeat.request.len(), heartbeat.response.len()];
            let most = config.max_message_size.min(config.max_frame_size).min(125);
            let is_legal = |length| length > 0 && u64::try_from(length).is_ok_and(|it| it <= most);
            let is_mute = heartbeat.sends && !self.heartbeat.pings();
            if heartbeat.request == heartbeat.response
                || !lengths.into_iter().all(is_legal)
                || is_mute
            {
                return Err(ConfigError::ApplicationHeartbeat);
            }
        }
        config.check_times()?;
        self.config.heartbeat = Arc::new(self.heartbeat);
        Ok(self.config)
    }
}

/// The shortest response that opens a connection; a request is longer.
const LEAST_HEAD: u64 = 106;

/// The headers of that response.
const LEAST_HEADERS: u64 = 3;

/// For so long a connection that is over may stay at most.
const LONGEST_END: Duration = Duration::from_secs(24 * 60 * 60);

/// An unset frame limit is never lower: on the wire a short message may be long.
const MIN_FRAME_LIMIT: u64 = 16 << 20;

/// How incoming messages reach the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// Whole, as [`Event::Text`](crate::Event::Text) and
    /// [`Event::Binary`](crate::Event::Binary).
    Messages,
    /// In parts as they arrive, as [`Event::TextPart`](crate::Event::TextPart) and
    /// [`Event::BinaryPart`](crate::Event::BinaryPart). Nothing is held, and messages have no
    /// size limit of their own; frames do. A part of a compressed message comes of at most 1 KiB on
    /// the wire, and so is hardly longer than 1 MiB. Of text that turns out not to be UTF-8, how much is
    /// delivered before the end depends on how it arrived.
    Parts,
}

/// A heartbeat of text messages, for peers that cannot send or see ping frames, such as
/// JavaScript in a browser.
///
/// These messages do not reach the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationHeartbeat {
    pub(crate) request: ByteString,
    pub(crate) response: ByteString,
    pub(crate) sends: bool,
}

impl ApplicationHeartbeat {
    /// Answers each text message `request` of the peer with the text message `response`. At most 16
    /// answers wait for a transport that takes nothing; those show life as well as more would.
    #[must_use]
    pub fn answer(request: &str, response: &str) -> Self {
        Self {
            request: request.into(),
            response: response.into(),
            sends: false,
        }
    }

    /// Sends the text message `request` whenever a ping is due, in place of a ping frame, and
    /// takes the text message `response` for its pong.
    #[must_use]
    pub fn ask(request: &str, response: &str) -> Self {
        Self {
            request: request.into(),
            response: response.into(),
            sends: true,
        }
    }
}
