// Subscribes to one service with npm nacos and prints the ports of every list that it is told.
import nacos from 'nacos';

const { SERVER, NACOS_USER, NACOS_PASSWORD } = process.env;
const USER = NACOS_USER ? { username: NACOS_USER, password: NACOS_PASSWORD } : {};
const quiet = { info() {}, debug() {}, warn() {}, error() {}, log() {} };
const client = new nacos.NacosNamingClient({ logger: quiet, serverList: SERVER, namespace: 'public', ...USER });
client.on('error', () => {});
await client.ready();
let told = '';
const tell = (hosts) => {
  const ports = hosts.map((host) => host.port).sort().join(' ');
  if (ports !== told) console.log(ports);
  told = ports;
};
// The cluster that `subscribe` means, or the SDK would hold two subscriptions and hear of changes on the other one.
await client.getAllInstances(process.argv[2], 'DEFAULT_GROUP', 'DEFAULT');
client.subscribe(process.argv[2], tell);
console.log('watching');
