import { verifyWebhook, WebhookVerificationError } from "@hubspot-connect/server";
import { events } from "../../hubspot";

export async function POST(request) {
  try {
    // The raw body: a parsed one cannot be verified.
    const { type, data } = verifyWebhook(await request.text(), request.headers, process.env.HUBSPOT_CONNECT_WEBHOOK_SECRET);
    if (data.external_user_id) events.set(data.external_user_id, type);
  } catch (error) {
    if (error instanceof WebhookVerificationError) return new Response(null, { status: 401 });
    throw error;
  }
  return new Response(null, { status: 204 });
}
