/* The parsers of libosip2 and sofia-sip, as the benchmark calls them: one message in, a number that depends on the
 * result out, -1 where the message is refused. Both type the headers that they know as they parse. */

#include <stdarg.h>
#include <stddef.h>
#include <osipparser2/osip_parser.h>
#include <osipparser2/osip_port.h>
#include <sofia-sip/msg.h>
#include <sofia-sip/sip.h>
#include <sofia-sip/sip_header.h>

/* What libosip2 has to say of a message would stand in the middle of the table. */
static void ignore(const char *file, int line, osip_trace_level_t level, const char *format, va_list arguments) {
  (void)file, (void)line, (void)level, (void)format, (void)arguments;
}

long osip2_parse(const char *octets, size_t length) {
  static int ready = 0;
  osip_message_t *message = NULL;
  long result = -1;
  if (!ready) {
    parser_init();
    osip_trace_initialize_func(OSIP_FATAL, ignore);
    ready = 1;
  }
  if (osip_message_init(&message) != 0) return -1;
  if (osip_message_parse(message, octets, length) == 0) result = osip_list_size(&message->vias);
  osip_message_free(message);
  return result;
}

long sofia_parse(const char *octets, size_t length) {
  msg_t *message = msg_make(sip_default_mclass(), 0, octets, (ssize_t)length);
  const sip_t *sip = message ? sip_object(message) : NULL;
  long result = -1;
  if (sip && !sip->sip_error && (sip->sip_request || sip->sip_status)) result = sip->sip_cseq != NULL;
  if (message) msg_destroy(message);
  return result;
}
