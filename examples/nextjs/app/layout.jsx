export const metadata = { title: "An application with a login" };
export const viewport = { colorScheme: "light dark" };

export default function Layout({ children }) {
  return (
    <html lang="en">
      <body>
        <h1>My application</h1>
        {children}
      </body>
    </html>
  );
}
