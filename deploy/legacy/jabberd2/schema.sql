-- The tables that jabberd2 2.7 looks for in its SQLite storage, accounts in the first: sqlite3 sqlite.db < schema.sql
PRAGMA journal_mode = WAL;

CREATE TABLE "authreg" ("username" TEXT NOT NULL, "realm" TEXT NOT NULL, "password" TEXT);
CREATE INDEX "authreg-by-name" ON "authreg" ("username", "realm");

CREATE TABLE "active" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, "time" INTEGER
    DEFAULT 0);
CREATE INDEX "active-by-owner" ON "active" ("collection-owner");

CREATE TABLE "logout" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, "time" INTEGER
    DEFAULT 0);
CREATE INDEX "logout-by-owner" ON "logout" ("collection-owner");

CREATE TABLE "roster-items" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, "jid" TEXT,
    "name" TEXT, "to" BOOLEAN, "from" BOOLEAN, "ask" INTEGER);
CREATE INDEX "roster-items-by-owner" ON "roster-items" ("collection-owner");

CREATE TABLE "roster-groups" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, "jid" TEXT,
    "group" TEXT);
CREATE INDEX "roster-groups-by-owner" ON "roster-groups" ("collection-owner");

CREATE TABLE "published-roster" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, "jid" TEXT,
    "group" TEXT, "name" TEXT, "to" BOOLEAN, "from" BOOLEAN, "ask" INTEGER);
CREATE INDEX "published-roster-by-owner" ON "published-roster" ("collection-owner");

CREATE TABLE "published-roster-groups" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY,
    "groupname" TEXT);
CREATE INDEX "published-roster-groups-by-owner" ON "published-roster-groups" ("collection-owner");

CREATE TABLE "vcard" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, "fn" TEXT, "nickname"
    TEXT, "url" TEXT, "tel" TEXT, "email" TEXT, "jabberid" TEXT, "mailer" TEXT, "title" TEXT, "role" TEXT, "bday"
    TEXT, "tz" TEXT, "n-family" TEXT, "n-given" TEXT, "n-middle" TEXT, "n-prefix" TEXT, "n-suffix" TEXT, "adr-street"
    TEXT, "adr-extadd" TEXT, "adr-pobox" TEXT, "adr-locality" TEXT, "adr-region" TEXT, "adr-pcode" TEXT, "adr-country"
    TEXT, "geo-lat" TEXT, "geo-lon" TEXT, "org-orgname" TEXT, "org-orgunit" TEXT, "agent-extval" TEXT, "sort-string"
    TEXT, "desc" TEXT, "note" TEXT, "uid" TEXT, "photo-type" TEXT, "photo-binval" TEXT, "photo-extval" TEXT,
    "logo-type" TEXT, "logo-binval" TEXT, "logo-extval" TEXT, "sound-phonetic" TEXT, "sound-binval" TEXT, "sound-extval"
    TEXT, "key-type" TEXT, "key-cred" TEXT, "rev" TEXT);
CREATE INDEX "vcard-by-owner" ON "vcard" ("collection-owner");

CREATE TABLE "queue" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, "xml" TEXT);
CREATE INDEX "queue-by-owner" ON "queue" ("collection-owner");

CREATE TABLE "private" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, "ns" TEXT, "xml"
    TEXT);
CREATE INDEX "private-by-owner" ON "private" ("collection-owner");

CREATE TABLE "motd-message" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, "xml" TEXT);
CREATE INDEX "motd-message-by-owner" ON "motd-message" ("collection-owner");

CREATE TABLE "motd-times" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, "time" INTEGER);
CREATE INDEX "motd-times-by-owner" ON "motd-times" ("collection-owner");

CREATE TABLE "privacy-default" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, "default"
    TEXT);
CREATE INDEX "privacy-default-by-owner" ON "privacy-default" ("collection-owner");

CREATE TABLE "privacy-items" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, "list" TEXT,
    "type" TEXT, "value" TEXT, "deny" BOOLEAN, "order" INTEGER, "block" INTEGER);
CREATE INDEX "privacy-items-by-owner" ON "privacy-items" ("collection-owner");

CREATE TABLE "vacation-settings" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, "start"
    INTEGER, "end" INTEGER, "message" TEXT);
CREATE INDEX "vacation-settings-by-owner" ON "vacation-settings" ("collection-owner");

CREATE TABLE "status" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, "status" TEXT, "show"
    TEXT, "last-login" INTEGER, "last-logout" INTEGER, "xml" TEXT);
CREATE INDEX "status-by-owner" ON "status" ("collection-owner");
