# A user agent of Net::SIP: takes commands from standard input, one a line, and tells what happens.
#
#     agent.pl USER PORT ANSWER [REGISTRAR PASSWORD]
#
# Commands: dial URI, hold, resume, hangup, unregister. They are for the last call; hangup cancels one that is not
# answered yet. ANSWER says what becomes of calls that come in: auto, ring or busy. REGISTRAR is the HOST:PORT where it
# registers as a user of test.local, and by which it sends all its requests.
#
# Who calls speaks, who is called sends back what it hears. It ends with its standard input.

use strict;
use warnings;

use Net::SIP;
use Net::SIP::Dispatcher::Eventloop;

my ($user, $port, $answer, $registrar, $password) = @ARGV;

# 20 ms of silence in PCMU.
my $silence = "\xff" x 160;

my $call;

$| = 1;

sub report { print join(' ', 'EVENT', @_), "\n" }

my $ua = Net::SIP::Simple->new(
    leg  => { proto => 'udp', addr => '127.0.0.1', port => $port },
    from => $registrar ? "sip:$user\@test.local" : "sip:$user\@127.0.0.1:$port",
    auth => [ $user, $password ],
    $registrar ? (outgoing_proxy => "sip:$registrar") : (),
);

sub over { report('call DISCONNECTED', @_); $call = undef }

# Net::SIP holds with the address 0.0.0.0 (RFC 3264 section 8.4), others with a direction.
sub direction {
    my ($packet) = @_;
    my $sdp = $packet->sdp_body or return 'unknown';
    my ($media) = $sdp->get_media;
    my $held = $media->{addr} eq '0.0.0.0' || $packet->as_string =~ m{^a=(?:sendonly|inactive)\r?$}m;
    return $held ? 'held there' : 'active';
}

my $heard;

sub hear { report('media heard') unless $heard++ }

## Calls that are placed

sub answered {
    my ($status, $placed, %result) = @_;
    return over($result{code} // "error $result{errno}") if $status ne 'OK';
    $placed->set_param(confirmed => 1);
    report('call CONFIRMED', $result{packet}->code);
}

sub dial {
    my ($uri) = @_;
    $heard = 0;
    $call = $ua->invite(
        $uri,
        init_media     => $ua->rtp('send_recv', [ sub { $silence } ], -1, [ \&hear ]),
        recv_bye       => [ sub { over('there') } ],
        cb_preliminary => [ sub { report('call EARLY', $_[1]) } ],
        cb_final       => [ \&answered ],
        cb_invite      => [ \&invited ],
    );
}

## Calls that come in

# The first INVITE of a call comes here, and then to `invited`, as all that follow.
sub created {
    my ($incoming, $packet, $leg, $from) = @_;
    my ($code, $reason) = $answer eq 'busy' ? (486, 'Busy Here') : (180, 'Ringing');
    my $response = $packet->create_response($code, $reason);
    $incoming->{endpoint}->new_response($incoming->{ctx}, $response, $leg, $from);
    report('call INCOMING', $code);
    return 0 if $answer eq 'busy';
    $call = $incoming;
    return 1;
}

# Without a response from here Net::SIP answers with 200.
sub invited {
    my ($incoming, $packet) = @_;
    if ($incoming->get_param('confirmed')) {
        report('media', direction($packet));
        return;
    }
    return $answer eq 'ring' ? $packet->create_response(180, 'Ringing') : undef;
}

sub established {
    my ($status, $incoming) = @_;
    report('call CONFIRMED') unless $incoming->get_param('confirmed');
    $incoming->set_param(confirmed => 1);
}

$ua->listen(
    init_media     => $ua->rtp('recv_echo'),
    cb_create      => [ \&created ],
    cb_invite      => [ \&invited ],
    cb_established => [ \&established ],
    recv_bye       => [ sub { over('there') } ],
);

## Commands

sub offer {
    my ($name, %param) = @_;
    my $done = sub {
        my ($status, undef, %result) = @_;
        $heard = 0;
        report($status eq 'OK' ? "media $name" : "media refused $result{code}");
    };
    $call->reinvite(%param, cb_final => [ $done ]);
}

sub hang_up {
    return $call->cancel unless $call->get_param('confirmed');
    $call->bye(cb_final => [ sub { over('here') } ]);
}

sub register {
    my ($expires) = @_;
    my $done = sub {
        my ($status, %result) = @_;
        my $code = $status eq 'OK' ? 200 : $result{code} // "error $result{errno}";
        report('registration', $code, $expires && $code eq 200 ? 'active' : 'gone');
    };
    $ua->register(registrar => 'sip:test.local', expires => $expires, cb_final => [ $done ]);
}

# After a hold Net::SIP goes on to offer the description of the hold, if it gets no other one.
sub resume { offer('active', sdp => $call->get_param('_sdp_saved')) }

my %commands = (
    dial       => \&dial,
    hold       => sub { offer('held here', call_on_hold => 1) },
    resume     => \&resume,
    hangup     => \&hang_up,
    unregister => sub { register(0) },
);

my $rest = '';

sub obey {
    sysread(STDIN, $rest, 4096, length $rest) or exit 0;
    while ($rest =~ s{^(.*)\n}{}) {
        my ($command, $argument) = split ' ', $1, 2;
        $commands{$command}->($argument);
    }
}

$ua->{loop}->addFD(\*STDIN, EV_READ, [ \&obey ]);
register(60) if $registrar;
report('ready');
$ua->loop;
