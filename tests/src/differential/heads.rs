//! Random heads of opening handshakes as a server gets them, legal and illegal.

use crate::rng::Rng;

/// Makes the bytes of `seed`: a request head, and in rare cases something after it.
#[must_use]
pub fn head(seed: u64) -> Vec<u8> {
    let mut head = Head {
        rng: Rng::new(seed),
        method: "GET".into(),
        target: "/chat?room=1".into(),
        version: "HTTP/1.1".into(),
        line_end: "\r\n",
        fields: Vec::new(),
    };
    head.fill_in();
    for _ in 0..head.rng.pick(&[0, 1, 1, 1, 2]) {
        head.change();
    }
    head.shuffle();
    let mut bytes = head.encode();
    head.damage(&mut bytes);
    bytes
}

struct Head {
    rng: Rng,
    method: String,
    target: String,
    version: String,
    line_end: &'static str,
    fields: Vec<(String, String)>,
}

impl Head {
    /// A legal request, with what clients add to it.
    fn fill_in(&mut self) {
        let key = self.key();
        self.add("Host", "example.com");
        self.add("Upgrade", "websocket");
        let connection =
            self.rng
                .pick(&["Upgrade", "upgrade", "keep-alive, Upgrade", "Upgrade, x"]);
        self.add("Connection", connection);
        self.add("Sec-WebSocket-Key", &key);
        self.add("Sec-WebSocket-Version", "13");
        for (name, value) in EXTRAS {
            if self.rng.chance(15) {
                self.add(name, value);
            }
        }
    }

    /// Makes the request unusual or illegal in one place.
    fn change(&mut self) {
        match self.rng.below(22) {
            0 => self.method = self.pick(&["POST", "get", "GETT", "OPTIONS", ""]),
            1 => self.version = self.pick(&["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", ""]),
            2 => self.target = self.pick(&TARGETS),
            3 => self.set("Host", &HOSTS),
            4 => self.set("Upgrade", &UPGRADES),
            5 => self.set("Connection", &CONNECTIONS),
            6 => self.set("Sec-WebSocket-Version", &["8", "", "13, 8", "013", "14"]),
            7 => {
                let key = self.key();
                let keys = [
                    "",
                    &key[..22],
                    &key[1..],
                    "AQIDBAUGBwgJCgsMDQ4PEC==",
                    "AQIDBAUGBwgJCgsMDQ4PEC=A",
                    "not a key, not a key, no",
                    "AQIDBAUGBwgJCgsMDQ4PEBEX",
                ];
                self.set("Sec-WebSocket-Key", &keys);
            }
            8 => {
                let value = self.pick(&SUBPROTOCOLS);
                self.add("Sec-WebSocket-Protocol", &value);
            }
            9 => {
                let value = self.pick(&EXTENSIONS);
                self.add("Sec-WebSocket-Extensions", &value);
            }
            10 => {
                let value = self.pick(&["0", "5", "00", "x"]);
                self.add("Content-Length", &value);
            }
            11 => self.add("Transfer-Encoding", "chunked"),
            // A field once more, with the same value or another.
            12..=14 => {
                let index = self.rng.len(0..=self.fields.len() - 1);
                let (name, mut value) = self.fields[index].clone();
                match &*name {
                    "Upgrade" => value = self.pick(&["websocket", "h2c", ""]),
                    "Connection" => value = self.pick(&CONNECTIONS),
                    _ => {}
                }
                self.fields.push((name, value));
            }
            15 => {
                let index = self.rng.len(0..=self.fields.len() - 1);
                self.fields.remove(index);
            }
            16 => self.line_end = self.rng.pick(&["\n", "\r", "\r\n "]),
            17 => self.method = self.pick(&["\r\nGET", "\r\n\r\nGET", "\nGET", " GET"]),
            18 => {
                let count = self.rng.len(80..=130);
                (0..count).for_each(|index| self.add(&format!("X-{index}"), "x"));
            }
            19 => {
                let length = self.rng.pick(&[7_000, 8_200]);
                for _ in 0..self.rng.range(1..=3) {
                    self.add("Cookie", &"c".repeat(length));
                }
            }
            20 => {
                let name = self.pick(&["X Y", "X-Ä", "", "X:", "X\t"]);
                self.add(&name, "value");
            }
            _ => {
                let value = self.pick(&["a\0b", "a\x7Fb", "a\rb", "ÄÖ", "", "a\tb"]);
                self.add("X-Value", &value);
            }
        }
    }

    fn key(&mut self) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digits = (0..21).map(|_| char::from(self.rng.pick(DIGITS)));
        let mut key: String = digits.collect();
        // The last digit holds two bits of the sixteenth byte, and four that are zero.
        key.push(self.rng.pick(&['A', 'Q', 'g', 'w']));
        key.push_str("==");
        key
    }

    fn pick(&mut self, choices: &[&str]) -> String {
        self.rng.pick(choices).to_owned()
    }

    fn add(&mut self, name: &str, value: &str) {
        self.fields.push((name.to_owned(), value.to_owned()));
    }

    fn set(&mut self, name: &str, values: &[&str]) {
        let value = self.pick(values);
        let mut fields = self.fields.iter_mut();
        if let Some((_, old)) = fields.find(|(other, _)| other == name) {
            *old = value;
        }
    }

    fn shuffle(&mut self) {
        for last in (1..self.fields.len()).rev() {
            let other = self.rng.len(0..=last);
            self.fields.swap(last, other);
        }
    }

    fn encode(&mut self) -> Vec<u8> {
        let (method, target, version) = (&self.method, &self.target, &self.version);
        let mut text = format!("{method} {target} {version}\r\n");
        for (name, value) in &self.fields {
            let name = match self.rng.below(4) {
                0 => name.to_ascii_lowercase(),
                1 => name.to_ascii_uppercase(),
                _ => name.clone(),
            };
            let before = self.rng.pick(&[" ", " ", "", "  ", "\t"]);
            let after = self.rng.pick(&["", "", "", " ", "\t"]);
            let end = if self.rng.chance(10) {
                self.line_end
            } else {
                "\r\n"
            };
            text.push_str(&format!("{name}:{before}{value}{after}{end}"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        match self.rng.below(20) {
            0 => {
                let at = self.rng.len(0..=bytes.len() - 1);
                bytes[at] ^= 1 << self.rng.below(8);
            }
            1 if self.rng.chance(50) => {
                let at = self.rng.len(0..=bytes.len() - 1);
                bytes.truncate(at);
            }
            2 if self.rng.chance(50) => bytes.extend_from_slice(b"\x81\x80\0\0\0\0"),
            _ => {}
        }
    }
}

const EXTRAS: [(&str, &str); 6] = [
    ("Origin", "https://example.com"),
    ("User-Agent", "test/1.0 (x; y)"),
    ("Cookie", "a=b; c=d"),
    (
        "Sec-WebSocket-Extensions",
        "permessage-deflate; client_max_window_bits",
    ),
    ("Sec-WebSocket-Protocol", "chat, superchat"),
    ("Accept-Language", "de, en;q=0.5"),
];

const TARGETS: [&str; 17] = [
    "/",
    "*",
    "chat",
    "/chat#part",
    "/ä",
    "/a|b",
    "/a\"b",
    "/a`b",
    "/a?{b}",
    "/<a^b\\",
    "/a%zz",
    "http://example.com/chat",
    "http://example.com:80/chat",
    "https://example.com?x",
    "http://other.example/chat",
    "ftp://example.com/",
    "",
];

const HOSTS: [&str; 9] = [
    "",
    "example.com:80",
    "[::1]:8080",
    "[::g]",
    "a b",
    "user@example.com",
    "example.com/",
    "example.com:x",
    "ex,ample",
];

const UPGRADES: [&str; 7] = [
    "WebSocket",
    "websocket, h2c",
    "h2c, websocket",
    "h2c",
    "websocket/13",
    "",
    ", websocket",
];

const CONNECTIONS: [&str; 9] = [
    "keep-alive",
    "",
    "keep-alive Upgrade",
    "keep-alive,\tUpgrade",
    ",, Upgrade ,",
    "Upgrade, a b",
    "upgraded",
    "\"Upgrade\"",
    "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z,a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,\
     u,v,w,x,y,z,a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,Upgrade",
];

const SUBPROTOCOLS: [&str; 7] = [
    "",
    ",",
    "chat",
    "chat, chat",
    "chat superchat",
    "chat,,superchat",
    "ch@t",
];

const EXTENSIONS: [&str; 10] = [
    "",
    "permessage-deflate",
    "permessage-deflate, permessage-deflate",
    "x; a=\"b\"",
    "x; a=\"b c\"",
    "x; a=",
    "x;",
    "x y",
    "=x",
    "permessage-deflate; server_max_window_bits=99",
];
