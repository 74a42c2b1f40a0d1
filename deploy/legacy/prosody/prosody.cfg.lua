-- Prosody behind Holdfast. Words between @ signs are filled in by who installs it;
-- README.md one folder up says what differs from Debian's file and why.

admins = { }

modules_enabled = {
	"disco"; "roster"; "saslauth"; "tls"; "blocklist"; "bookmarks"; "carbons"; "pep"; "private"; "vcard4";
	"vcard_legacy"; "csi_simple"; "ping"; "register"; "time"; "uptime"; "version"; "posix"; "offline";
	-- Left out on purpose: "smacks" (Holdfast serves XEP-0198) and "limits" (10 kB/s would throttle replays).
}
modules_disabled = { "s2s" } -- take this line out if the server federates

-- Clients come through Holdfast over the loopback, where TLS would protect nothing.
c2s_interfaces = { "127.0.0.1" }
c2s_ports = { @PORT@ }
c2s_direct_tls_interfaces = { "127.0.0.1" }
c2s_direct_tls_ports = { @TLS_PORT@ }
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
ssl = { certificate = "@CERTIFICATE@"; key = "@KEY@" }

-- Plain storage lets Prosody offer SCRAM-SHA-1 and SCRAM-SHA-256 side by side. Hashed accounts can stay so.
authentication = "internal_plain"
storage = "internal"
allow_registration = true
data_path = "@DATA@"
pidfile = "@DATA@/prosody.pid"
log = { info = "*console" }

VirtualHost "@DOMAIN@"

VirtualHost "anon.@DOMAIN@"
	authentication = "anonymous"

Component "conference.@DOMAIN@" "muc"
