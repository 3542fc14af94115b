// Registers one service and subscribes to another at several servers, and prints the ports of every list that it is told.
import nacos from 'nacos';

const quiet = { info() {}, debug() {}, warn() {}, error() {}, log() {} };
const [own, port, watched] = process.argv.slice(2);
const client = new nacos.NacosNamingClient({ logger: quiet, serverList: process.env.SERVERS, namespace: 'public' });
client.on('error', () => {});
await client.ready();
await client.getAllInstances(watched, 'DEFAULT_GROUP', 'DEFAULT');
client.subscribe(watched, (hosts) => console.log('told', hosts.map((host) => host.port).sort().join(' ')));
const metadata = Object.fromEntries(process.env.LEASE.split(',').map((time) => time.split('=')));
await client.registerInstance(own, { ip: '10.6.0.3', port: Number(port), metadata });
console.log('registered');
