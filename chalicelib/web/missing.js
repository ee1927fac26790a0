// The page for an unknown address.
import { startAnyPage } from "./ui.js";

startAnyPage();
