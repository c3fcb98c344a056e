use wspulse_core::*;
use wspulse_tests::kit::*;
use wspulse_tests::peer::*;
use wspulse_tests::pipe::PipeConfig;
use wspulse_tests::sim::World;
fn pipe(latency: u64) -> PipeConfig { PipeConfig { latency: ms(latency), ..PipeConfig::default() } }
#[test]
fn dbg() {
        let role = Role::Server;
        let mut host = host(role, ping(1_000, 1_000));
        (0..1).for_each(|_| host.send(vec![7; 16 << 20]));
        let mut peer = Peer::new(role.peer());
        peer.read_rate = Some(2_000_000);
        let there = PipeConfig { send_buffer: 4 << 20, receive_buffer: 6 << 20, ..pipe(10) };
        let mut world = World::new(host, peer, there, pipe(10));
        for t in [5,15,25,100,300,600,999,1000,1050,1100,1500,2000,2240] {
            world.run_until(at(t));
            let s = format!("{:?}", world.a.conn());
            let i = s.find("drain: ").unwrap();
            eprintln!("{t} {} pings {:?}", &s[i..i+400], world.a.conn().pings());
        }
}
