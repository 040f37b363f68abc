import "server-only";
import { cookies } from "next/headers";

/** The user who is logged in. Your application has its own login: here, a cookie has the name. */
export async function currentUser() {
  return (await cookies()).get("user")?.value;
}

export async function setCurrentUser(name) {
  (await cookies()).set("user", name, { httpOnly: true, sameSite: "lax" });
}
