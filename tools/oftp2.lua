-- OFTP2 over plain TCP (RFC 5024, and RFC 2204 for the release levels 1 to 4), for Wireshark and tshark 3.0 or later.
--
--     wireshark -X lua_script:tools/oftp2.lua FILE
--     tshark    -X lua_script:tools/oftp2.lua -r FILE -Y oftp2 -T fields -e oftp2.command -e oftp2.sfiddsn
--
-- Port 3305 is taken for OFTP; on other ports a session is recognised by its first command, SSRM, or say "Decode As".
-- Fields bear the names of the RFC and can be filtered by them: oftp2.ssidcode, oftp2.sfiddsn, oftp2.esidreas. Of passwords,
-- challenges and contents of files the tree says how long they are. (The octets themselves are still in the capture.)
-- A session inside of TLS cannot be read; there "oftp2d trace" helps.

local oftp2 = Proto("oftp2", "ODETTE File Transfer Protocol")

local HEADER = 4 -- octets of the stream transmission header, RFC 5024 section 8
local VERSION = 0x10
local LONGEST = 99999 -- octets of an Exchange Buffer, RFC 5024 section 5.3.2

local COMMANDS = {
    I = "SSRM", X = "SSID", H = "SFID", ["2"] = "SFPA", ["3"] = "SFNA", D = "DATA", C = "CDT", T = "EFID", ["4"] = "EFPA",
    ["5"] = "EFNA", F = "ESID", R = "CD", E = "EERP", N = "NERP", P = "RTR", J = "SECD", A = "AUCH", S = "AURP",
}

-- The fields of each command: X printable, 9 digits, T UTF-8, U binary; (n) as long as the field before it says; ! not shown.
-- 5 is RFC 5024 section 5.3; 1, which is 2 as well, RFC 2204 section 5.3; 4 is release 1.4, between the two.
local LAYOUTS = {
    [5] = [[
        SSRM: SSRMCMD X(1), SSRMMSG X(17), SSRMCR U(1)
        SSID: SSIDCMD X(1), SSIDLEV 9(1), SSIDCODE X(25), SSIDPSWD X(8)!, SSIDSDEB 9(5), SSIDSR X(1),
            SSIDCMPR X(1), SSIDREST X(1), SSIDSPEC X(1), SSIDCRED 9(3), SSIDAUTH X(1), SSIDRSV1 X(4),
            SSIDUSER X(8), SSIDCR U(1)
        SFID: SFIDCMD X(1), SFIDDSN X(26), SFIDRSV1 X(3), SFIDDATE 9(8), SFIDTIME 9(10), SFIDUSER X(8),
            SFIDDEST X(25), SFIDORIG X(25), SFIDFMT X(1), SFIDLRECL 9(5), SFIDFSIZ 9(13), SFIDOSIZ 9(13),
            SFIDREST 9(17), SFIDSEC 9(2), SFIDCIPH 9(2), SFIDCOMP 9(1), SFIDENV 9(1), SFIDSIGN X(1),
            SFIDDESCL 9(3), SFIDDESC T(n)
        SFPA: SFPACMD X(1), SFPAACNT 9(17)
        SFNA: SFNACMD X(1), SFNAREAS 9(2), SFNARRTR X(1), SFNAREASL 9(3), SFNAREAST T(n)
        DATA: DATACMD X(1), DATABUF U(n)!
        CDT: CDTCMD X(1), CDTRSV1 X(2)
        EFID: EFIDCMD X(1), EFIDRCNT 9(17), EFIDUCNT 9(17)
        EFPA: EFPACMD X(1), EFPACD X(1)
        EFNA: EFNACMD X(1), EFNAREAS 9(2), EFNAREASL 9(3), EFNAREAST T(n)
        ESID: ESIDCMD X(1), ESIDREAS 9(2), ESIDREASL 9(3), ESIDREAST T(n), ESIDCR U(1)
        CD: CDCMD X(1)
        EERP: EERPCMD X(1), EERPDSN X(26), EERPRSV1 X(3), EERPDATE 9(8), EERPTIME 9(10), EERPUSER X(8),
            EERPDEST X(25), EERPORIG X(25), EERPHSHL U(2), EERPHSH U(n), EERPSIGL U(2), EERPSIG U(n)
        NERP: NERPCMD X(1), NERPDSN X(26), NERPRSV1 X(6), NERPDATE 9(8), NERPTIME 9(10), NERPDEST X(25),
            NERPORIG X(25), NERPCREA X(25), NERPREAS 9(2), NERPREASL 9(3), NERPREAST T(n), NERPHSHL U(2),
            NERPHSH U(n), NERPSIGL U(2), NERPSIG U(n)
        RTR: RTRCMD X(1)
        SECD: SECDCMD X(1)
        AUCH: AUCHCMD X(1), AUCHCHLL U(2), AUCHCHAL U(n)!
        AURP: AURPCMD X(1), AURPRSP U(20)!
    ]],
    [4] = [[
        SSRM: SSRMCMD X(1), SSRMMSG X(17), SSRMCR U(1)
        SSID: SSIDCMD X(1), SSIDLEV 9(1), SSIDCODE X(25), SSIDPSWD X(8)!, SSIDSDEB 9(5), SSIDSR X(1),
            SSIDCMPR X(1), SSIDREST X(1), SSIDSPEC X(1), SSIDCRED 9(3), SSIDRSV1 X(5), SSIDUSER X(8),
            SSIDCR U(1)
        SFID: SFIDCMD X(1), SFIDDSN X(26), SFIDRSV1 X(3), SFIDDATE 9(8), SFIDTIME 9(10), SFIDUSER X(8),
            SFIDDEST X(25), SFIDORIG X(25), SFIDFMT X(1), SFIDLRECL 9(5), SFIDFSIZ 9(7), SFIDREST 9(9)
        SFPA: SFPACMD X(1), SFPAACNT 9(9)
        SFNA: SFNACMD X(1), SFNAREAS 9(2), SFNARRTR X(1)
        DATA: DATACMD X(1), DATABUF U(n)!
        CDT: CDTCMD X(1), CDTRSV1 X(2)
        EFID: EFIDCMD X(1), EFIDRCNT 9(9), EFIDUCNT 9(12)
        EFPA: EFPACMD X(1), EFPACD X(1)
        EFNA: EFNACMD X(1), EFNAREAS 9(2)
        ESID: ESIDCMD X(1), ESIDREAS 9(2), ESIDCR U(1)
        CD: CDCMD X(1)
        EERP: EERPCMD X(1), EERPDSN X(26), EERPRSV1 X(3), EERPDATE 9(8), EERPTIME 9(10), EERPUSER X(8),
            EERPDEST X(25), EERPORIG X(25)
        NERP: NERPCMD X(1), NERPDSN X(26), NERPRSV1 X(6), NERPDATE 9(8), NERPTIME 9(10), NERPDEST X(25),
            NERPORIG X(25), NERPCREA X(25), NERPREAS 9(2)
        RTR: RTRCMD X(1)
    ]],
    [1] = [[
        SSRM: SSRMCMD X(1), SSRMMSG X(17), SSRMCR U(1)
        SSID: SSIDCMD X(1), SSIDLEV 9(1), SSIDCODE X(25), SSIDPSWD X(8)!, SSIDSDEB 9(5), SSIDSR X(1),
            SSIDCMPR X(1), SSIDREST X(1), SSIDSPEC X(1), SSIDCRED 9(3), SSIDRSV1 X(5), SSIDUSER X(8),
            SSIDCR U(1)
        SFID: SFIDCMD X(1), SFIDDSN X(26), SFIDRSV1 X(9), SFIDDATE 9(6), SFIDTIME 9(6), SFIDUSER X(8),
            SFIDDEST X(25), SFIDORIG X(25), SFIDFMT X(1), SFIDLRECL 9(5), SFIDFSIZ 9(7), SFIDREST 9(9)
        SFPA: SFPACMD X(1), SFPAACNT 9(9)
        SFNA: SFNACMD X(1), SFNAREAS 9(2), SFNARRTR X(1)
        DATA: DATACMD X(1), DATABUF U(n)!
        CDT: CDTCMD X(1), CDTRSV1 X(2)
        EFID: EFIDCMD X(1), EFIDRCNT 9(9), EFIDUCNT 9(12)
        EFPA: EFPACMD X(1), EFPACD X(1)
        EFNA: EFNACMD X(1), EFNAREAS 9(2)
        ESID: ESIDCMD X(1), ESIDREAS 9(2), ESIDCR U(1)
        CD: CDCMD X(1)
        EERP: EERPCMD X(1), EERPDSN X(26), EERPRSV1 X(9), EERPDATE 9(6), EERPTIME 9(6), EERPUSER X(8),
            EERPDEST X(25), EERPORIG X(25)
        RTR: RTRCMD X(1)
    ]],
}
LAYOUTS[2] = LAYOUTS[1]

local REASONS = {}
REASONS.ESIDREAS = {
    ["00"] = "normal session termination",
    ["01"] = "command not recognised",
    ["02"] = "protocol violation",
    ["03"] = "user code not known",
    ["04"] = "invalid password",
    ["05"] = "local site emergency close down",
    ["06"] = "command contained invalid data",
    ["07"] = "exchange buffer size error",
    ["08"] = "resources not available",
    ["09"] = "time out",
    ["10"] = "mode or capabilities incompatible",
    ["11"] = "invalid challenge response",
    ["12"] = "secure authentication requirements incompatible",
    ["99"] = "unspecified abort code",
}
REASONS.SFNAREAS = {
    ["01"] = "invalid file name",
    ["02"] = "invalid destination",
    ["03"] = "invalid origin",
    ["04"] = "storage record format not supported",
    ["05"] = "maximum record length not supported",
    ["06"] = "file size is too big",
    ["10"] = "invalid record count",
    ["11"] = "invalid byte count",
    ["12"] = "access method failure",
    ["13"] = "duplicate file",
    ["14"] = "file direction refused",
    ["15"] = "cipher suite not supported",
    ["16"] = "encrypted file not allowed",
    ["17"] = "unencrypted file not allowed",
    ["18"] = "compression not allowed",
    ["19"] = "signed file not allowed",
    ["20"] = "unsigned file not allowed",
    ["21"] = "invalid file signature",
    ["22"] = "file decryption failure",
    ["23"] = "file decompression failure",
    ["99"] = "unspecified reason",
}
REASONS.EFNAREAS = REASONS.SFNAREAS
REASONS.NERPREAS = {
    ["03"] = "next location: user code not known",
    ["04"] = "next location: invalid password",
    ["09"] = "next location: session ended for an unspecified reason",
    ["11"] = "invalid file name",
    ["12"] = "invalid destination",
    ["13"] = "invalid origin",
    ["14"] = "storage record format not supported",
    ["15"] = "maximum record length not supported",
    ["16"] = "file size too big",
    ["20"] = "invalid record count",
    ["21"] = "invalid byte count",
    ["22"] = "access method failure",
    ["23"] = "duplicate file",
    ["24"] = "file direction refused",
    ["25"] = "cipher suite not supported",
    ["26"] = "encrypted file not allowed",
    ["27"] = "unencrypted file not allowed",
    ["28"] = "compression not allowed",
    ["29"] = "signed file not allowed",
    ["30"] = "unsigned file not allowed",
    ["31"] = "file signature not valid",
    ["32"] = "file decompression failed",
    ["33"] = "file decryption failed",
    ["34"] = "file processing failed",
    ["35"] = "not delivered to recipient",
    ["36"] = "not acknowledged by recipient",
    ["50"] = "transmission stopped by the operator",
    ["90"] = "file size incompatible with the recipient's protocol version",
    ["99"] = "unspecified reason",
}

-- From the tables above: per level and command a list of fields, and one ProtoField for each name.

local layouts = {}
local protofields = {
    version = ProtoField.uint8("oftp2.stream.version", "Version", base.DEC, nil, 0xf0),
    flags = ProtoField.uint8("oftp2.stream.flags", "Flags", base.HEX, nil, 0x0f),
    length = ProtoField.uint24("oftp2.stream.length", "Length"),
    command = ProtoField.string("oftp2.command", "Command"),
    level = ProtoField.uint8("oftp2.level", "Release level"),
    subrecords = ProtoField.uint32("oftp2.data.subrecords", "Subrecords"),
    octets = ProtoField.uint32("oftp2.data.octets", "Octets of the file"),
    records = ProtoField.uint32("oftp2.data.records", "Ends of records"),
    compressed = ProtoField.uint32("oftp2.data.compressed", "Compressed subrecords"),
}

local function protofield(field)
    local filter = "oftp2." .. field.name:lower()
    if field.secret then
        return ProtoField.none(filter, field.name)
    elseif field.shape == "U" then
        return field.size == 2 and ProtoField.uint16(filter, field.name) or ProtoField.bytes(filter, field.name)
    end
    return ProtoField.string(filter, field.name)
end

for level, text in pairs(LAYOUTS) do
    layouts[level] = {}
    for command, list in text:gmatch("(%w+):([^:]*%)!?)") do
        local fields = {}
        for name, shape, size, secret in list:gmatch("(%w+) (%w)%((%w+)%)(!?)") do
            local field = { name = name, shape = shape, size = tonumber(size), secret = secret == "!" }
            fields[#fields + 1] = field
            protofields[name] = protofields[name] or protofield(field)
        end
        layouts[level][command] = fields
    end
end

local short = ProtoExpert.new("oftp2.short", "The command is shorter than its fields", expert.group.MALFORMED, expert.severity.WARN)
local long = ProtoExpert.new("oftp2.long", "The command is longer than its fields", expert.group.MALFORMED, expert.severity.WARN)
local unknown = ProtoExpert.new("oftp2.unknown", "No such command at this level", expert.group.PROTOCOL, expert.severity.WARN)
local unframed = ProtoExpert.new("oftp2.unframed", "No stream transmission header", expert.group.MALFORMED, expert.severity.ERROR)
local beyond = ProtoExpert.new("oftp2.beyond", "A subrecord goes beyond its buffer", expert.group.MALFORMED, expert.severity.WARN)

local all = {}
for _, field in pairs(protofields) do
    all[#all + 1] = field
end
oftp2.fields = all
oftp2.experts = { short, long, unknown, unframed, beyond }

-- The level of a session is the lower one of its two SSIDs. By TCP stream and the port that it came from: level and frame.

local stream_of = Field.new("tcp.stream")
local sessions = {}

function oftp2.init()
    sessions = {}
end

local function said(pinfo)
    local stream = stream_of()
    local key = stream and stream.value or 0
    sessions[key] = sessions[key] or {}
    return sessions[key]
end

-- A level that does not exist means the next lower one; one we do not know yet, the latest.
local function existing(level)
    for _, known in ipairs({ 5, 4, 2, 1 }) do
        if level >= known then
            return known
        end
    end
    return 5
end

local function note_level(pinfo, level)
    local session = said(pinfo)
    if not session[pinfo.src_port] then
        session[pinfo.src_port] = { level = level, frame = pinfo.number }
    end
end

local function level_at(pinfo)
    local lowest = 5
    for _, ssid in pairs(said(pinfo)) do
        if ssid.frame <= pinfo.number and ssid.level < lowest then
            lowest = ssid.level
        end
    end
    return existing(lowest)
end

-- What one Exchange Buffer holds.

local function add_field(tree, field, range)
    local protofield = protofields[field.name]
    if field.secret then
        tree:add(protofield, range):append_text(": " .. range:len() .. " octets, not shown")
    elseif field.shape == "U" then
        tree:add(protofield, range)
    else
        local text = range:string(ENC_UTF_8)
        local value = field.shape == "X" and text:gsub(" +$", "") or text
        local item = tree:add(protofield, range, value)
        local meaning = REASONS[field.name] and REASONS[field.name][text]
        if meaning then
            item:append_text(" (" .. meaning .. ")")
        end
    end
end

local function announced(field, range)
    if field.shape == "U" and field.size == 2 then
        return range:uint()
    elseif field.shape == "9" and field.size == 3 then
        return tonumber(range:string()) or 0
    end
    return 0
end

local function add_fields(tree, fields, buffer)
    local at, size = 0, 0
    local last = fields[#fields]
    for _, field in ipairs(fields) do
        local left = buffer:len() - at
        if left == 1 and last.name:sub(-2) == "CR" then
            field = last -- an ESID without text
        end
        if field.size then
            size = field.size
        end
        if left == 0 and size > 0 then
            -- Real systems leave out hash and signature at the end, and of an ESID what stands behind its reason.
            if not (field.name:match("^[EN]ERP...L$") or field.name == "ESIDREASL" or field.name == "ESIDCR") then
                tree:add_proto_expert_info(short)
            end
            return
        end
        if size > left then
            tree:add_proto_expert_info(short)
            size = left
        end
        local next_size = 0
        if size > 0 then
            local range = buffer:range(at, size)
            add_field(tree, field, range)
            next_size = announced(field, range)
            at = at + size
        end
        size = next_size
    end
    if at < buffer:len() then
        tree:add_proto_expert_info(long)
    end
end

-- A Data Exchange Buffer, RFC 5024 section 7: counts of what is in it.
local function add_data(tree, buffer)
    local at, subrecords, octets, records, compressed = 1, 0, 0, 0, 0
    local length = buffer:len()
    local cells = buffer:bytes()
    while at < length do
        local header = cells:get_index(at)
        local count = header % 64
        subrecords = subrecords + 1
        octets = octets + count
        if header >= 128 then
            records = records + 1
        end
        if header % 128 >= 64 then
            compressed = compressed + 1
            at = at + 2
        else
            at = at + 1 + count
        end
    end
    if length > 1 then
        local range = buffer:range(1)
        local item = tree:add(protofields.DATABUF, range)
        item:append_text(": " .. range:len() .. " octets, not shown")
        item:add(protofields.subrecords, range, subrecords):set_generated()
        item:add(protofields.octets, range, octets):set_generated()
        item:add(protofields.records, range, records):set_generated()
        item:add(protofields.compressed, range, compressed):set_generated()
        if at > length then
            item:add_proto_expert_info(beyond)
        end
    end
    return octets
end

local SUMMARIES = { SSID = "SSIDCODE", SFID = "SFIDDSN", EERP = "EERPDSN", NERP = "NERPDSN", ESID = "ESIDREAS", SFNA = "SFNAREAS",
    EFNA = "EFNAREAS" }

-- What stands in the list of packets: the command, and the one field that tells most.
local function summary(name, fields, buffer)
    local at = 0
    for _, field in ipairs(fields) do
        if field.name == SUMMARIES[name] and at + field.size <= buffer:len() then
            return name .. " " .. buffer:range(at, field.size):string():gsub(" +$", "")
        end
        at = at + (field.size or 0)
    end
    return name
end

local function dissect_buffer(tvb, pinfo, root)
    local tree = root:add(oftp2, tvb())
    if tvb:len() <= HEADER or tvb(0, 1):uint() ~= VERSION or tvb(1, 3):uint() > LONGEST + HEADER then
        tree:add_proto_expert_info(unframed)
        pinfo.cols.info:append(" (not OFTP)")
        return tvb:len()
    end
    local head = tree:add(oftp2, tvb(0, HEADER), "Stream transmission header")
    head:add(protofields.version, tvb(0, 1))
    head:add(protofields.flags, tvb(0, 1))
    head:add(protofields.length, tvb(1, 3))
    local buffer = tvb:range(HEADER):tvb()
    local name = COMMANDS[buffer(0, 1):string()]
    if name == "SSID" and buffer:len() > 1 then
        note_level(pinfo, tonumber(buffer(1, 1):string()) or 5)
    end
    local level = level_at(pinfo)
    local fields = name and (layouts[level][name] or layouts[5][name])
    if not fields then
        tree:add_proto_expert_info(unknown)
        pinfo.cols.info:append(" unknown")
        return tvb:len()
    end
    tree:add(protofields.command, buffer(0, 1), name)
    tree:add(protofields.level, level):set_generated()
    if not layouts[level][name] then
        tree:add_proto_expert_info(unknown)
    end
    local what = summary(name, fields, buffer)
    if name == "DATA" then
        add_field(tree, fields[1], buffer:range(0, 1))
        what = name .. " " .. add_data(tree, buffer)
    else
        add_fields(tree, fields, buffer)
    end
    tree:append_text(", " .. what)
    pinfo.cols.info:append(" " .. what)
    return tvb:len()
end

local function size_of(tvb, _, offset)
    local size = tvb(offset + 1, 3):uint()
    if tvb(offset, 1):uint() ~= VERSION or size <= HEADER or size > LONGEST + HEADER then
        return tvb:len() - offset -- what follows cannot be told apart
    end
    return size
end

function oftp2.dissector(tvb, pinfo, root)
    pinfo.cols.protocol = "OFTP2"
    pinfo.cols.info = pinfo.src_port .. " → " .. pinfo.dst_port
    dissect_tcp_pdus(tvb, root, HEADER, size_of, dissect_buffer)
    return tvb:len()
end

local function recognised(tvb, pinfo, root)
    if tvb:len() < HEADER + 18 or tvb(0, 1):uint() ~= VERSION or tvb(HEADER, 18):string() ~= "IODETTE FTP READY " then
        return false
    end
    pinfo.conversation = oftp2
    oftp2.dissector(tvb, pinfo, root)
    return true
end

oftp2:register_heuristic("tcp", recognised)
DissectorTable.get("tcp.port"):add(3305, oftp2)
